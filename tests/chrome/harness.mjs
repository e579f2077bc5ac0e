/**
 * Starts what the tests talk to: the real server on free ports with an empty data folder, and Chromium. Each test file starts its
 * own of both and ends them.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { chromium } from 'playwright-core'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** How long the server may take until it is ready. */
const START_MS = 15_000
/** How long it may take to stop before it is ended by force. */
const STOP_MS = 5_000

/** How long anything in a page may take that has no deadline of its own. */
const PAGE_MS = 15_000

const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=fps=30',
  // Where only loopback exists there would be no candidate without this.
  '--allow-loopback-in-peer-connection',
]
/** Pages that are not clicked need this for sound; the demo page's tests leave it out, because there a click must do. */
const AUTOPLAY_FLAG = '--autoplay-policy=no-user-gesture-required'

/** A running server. */
export class Server {
  /** @type {import('node:child_process').ChildProcess} */ #process
  #folder
  #settings
  #output = ''

  /** @param {string} folder @param {Record<string, string>} settings */
  constructor(folder, settings) {
    this.#folder = folder
    this.#settings = settings
    /** Host and port of the page. */ this.http = ''
    /** Host and port of HTTPS, where it is on. */ this.https = ''
    /** Host and port of RTMP. */ this.rtmp = ''
  }

  /**
   * Starts `ROOMCAST_BIN`, or else what a release build made.
   * @param {Record<string, string>} [settings]  further settings, like { 'demo.test_stream': 'false' }
   */
  static async start(settings = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'roomcast-test-'))
    const server = new Server(folder, {
      'server.data_folder': join(folder, 'data'),
      'http.listen': '127.0.0.1:0',
      'https.listen': 'off',
      'rtmp.listen': '127.0.0.1:0',
      'media.first_port': '0',
      ...settings,
    })
    await server.#run().catch(async (error) => {
      await server.stop()
      throw error
    })
    return server
  }

  async #run() {
    const binary = process.env.ROOMCAST_BIN ?? join(ROOT, 'target/release/roomcast')
    if (!existsSync(binary)) throw new Error(`there is no server at ${binary}: build it with \`cargo build --release\`, or set ROOMCAST_BIN`)
    // Settings of whoever runs the tests must not change what is tested.
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ROOMCAST_')))
    const set = Object.entries(this.#settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    this.#output = ''
    this.#process = spawn(binary, set, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const pipe of [this.#process.stdout, this.#process.stderr]) pipe?.on('data', (text) => (this.#output += text))
    await this.#ready(this.#process)
  }

  /** Ends it as a crash would. */
  async kill() {
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await ended
  }

  /** Stops it in order, and starts it again. */
  async restart() {
    const ended = once(this.#process, 'exit')
    this.#process.kill('SIGINT')
    await ended
    await this.startAgain()
  }

  /** Starts it again after `kill`, with the same data and on the same ports of HTTP and RTMP. */
  async startAgain() {
    Object.assign(this.#settings, { 'http.listen': this.http, 'rtmp.listen': this.rtmp })
    await this.#run()
  }

  /** Everything that the server wrote. */
  get output() {
    return this.#output
  }

  get origin() {
    return `http://${this.http.replace('127.0.0.1', 'localhost')}`
  }

  /** The demo app's secret. */
  async secret() {
    return (await readFile(join(this.#folder, 'data/demo-secret.txt'), 'utf8')).trim()
  }

  /**
   * A ticket of the demo app.
   * @param {string} userID @param {string | number} [roomID]
   */
  async ticket(userID, roomID = 1001) {
    const response = await fetch(`http://${this.http}/demo/ticket?${new URLSearchParams({ roomID: String(roomID), userID })}`)
    if (!response.ok) throw new Error(`no ticket: ${response.status} ${await response.text()}`)
    return response.json()
  }

  /** The address by which ffmpeg pushes straight into a room. @param {any} ticket */
  pushUrl({ sdkAppID, userID, userSig, roomID, privateMapKey }) {
    const query = new URLSearchParams({ sdkappid: sdkAppID, userid: userID, usersig: userSig, ...(privateMapKey && { privatemapkey: privateMapKey }) })
    return `rtmp://${this.rtmp}/push/${roomID}?${query}`
  }

  /** The addresses of a stream. @param {any} ticket @param {string} userID */
  playUrls({ sdkAppID, roomID }, userID, stream = 'main') {
    const name = `${sdkAppID}_${roomID}_${userID}_${stream}`
    return { rtmp: `rtmp://${this.rtmp}/live/${name}`, flv: `http://${this.http}/live/${name}.flv` }
  }

  /** The address of a stream's playlist. @param {any} ticket @param {string} userID */
  hlsUrl({ sdkAppID, roomID }, userID, stream = 'main') {
    return `http://${this.http}/live/${sdkAppID}_${roomID}_${userID}_${stream}.m3u8`
  }

  async stop() {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit')
      this.#process.kill('SIGINT')
      const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS)
      await ended
      clearTimeout(timer)
    }
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** Waits for the start-up text, which names the ports, and for `/readyz`. @param {import('node:child_process').ChildProcess} child */
  async #ready(child) {
    const port = (/** @type {string} */ what) => this.#output.match(new RegExp(`^\\s*${what}\\s+(\\S+:\\d+)`, 'm'))?.[1]
    await until(() => child.exitCode !== null || (port('HTTP') && port('RTMP')), START_MS, 'the start-up text').catch(() => {})
    const [http, rtmp] = [port('HTTP'), port('RTMP')]
    if (!http || !rtmp) throw new Error(`the server did not start:\n${this.#output}`)
    this.http = http
    this.rtmp = rtmp
    this.https = port('HTTPS') ?? ''
    await until(async () => (await fetch(`http://${http}/readyz`)).ok, START_MS, 'the server to be ready')
  }
}

/** Chromium with pages that all belong to one person. */
export class Browser {
  /** @param {import('playwright-core').BrowserContext} context @param {string} folder */
  constructor(context, folder) {
    this.context = context
    this.folder = folder
    /** What pages complained about. @type {string[]} */ this.complaints = []
  }

  /** @param {{ mayAutoplay?: boolean } & Parameters<typeof chromium.launchPersistentContext>[1]} [options] */
  static async start({ mayAutoplay = true, ...options } = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'roomcast-chromium-'))
    const context = await chromium.launchPersistentContext(folder, {
      executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
      headless: true,
      args: [...CHROMIUM_FLAGS, ...(mayAutoplay ? [AUTOPLAY_FLAG] : [])],
      ...options,
    })
    context.setDefaultTimeout(PAGE_MS)
    const browser = new Browser(context, folder)
    // Scripts of the tests, given to the page as if the server had them. The page itself is always the server's own: to a made-up
    // one Chromium would refuse connections to this machine (Local Network Access).
    await context.route('**/test/**', async (route) => {
      const path = new URL(route.request().url()).pathname.replace(/^\/test\//, '')
      const body = await readFile(join(ROOT, 'tests', path))
      await route.fulfill({ body, contentType: 'text/javascript' })
    })
    return browser
  }

  /** A new page, whose mistakes are remembered. @returns {Promise<import('playwright-core').Page>} */
  async page() {
    const page = await this.context.newPage()
    page.on('pageerror', (error) => this.complaints.push(String(error.stack)))
    page.on('console', (message) => message.type() === 'error' && this.complaints.push(`${message.text()} (${message.location().url})`))
    return page
  }

  /** A page with a peer in it that has not entered anywhere. @param {Server} server */
  async peerPage(server) {
    const page = await this.page()
    await page.goto(`${server.origin}/healthz`)
    await page.addScriptTag({ type: 'module', url: '/test/chrome/page.js' })
    await page.waitForFunction(() => 'peer' in window)
    return page
  }

  /**
   * A member of a room in a page of its own.
   * @param {Server} server @param {any} ticket @param {object} [publish]  what to publish; nothing if left out
   */
  async peer(server, ticket, publish) {
    const page = await this.peerPage(server)
    const members = await page.evaluate((it) => window.peer.enter(it), ticket)
    if (publish) await page.evaluate((it) => window.peer.publish(it), publish)
    return new PagePeer(page, ticket.userID, members)
  }

  /**
   * A player in a page of its own, with hls.js or mpegts.js.
   * @param {Server} server @param {'hls' | 'mpegts'} kind @param {string} url @param {import('playwright-core').Page} [page]  an empty one
   */
  async player(server, kind, url, page) {
    page ??= await this.page()
    await page.goto(`${server.origin}/healthz`)
    await page.addScriptTag({ url: kind === 'hls' ? '/test/chrome/node_modules/hls.js/dist/hls.min.js' : '/vendor/mpegts.js' })
    await page.addScriptTag({ type: 'module', url: '/test/chrome/player.js' })
    await page.waitForFunction(() => 'player' in window)
    await page.evaluate(([kind, url]) => window.player.start(kind, url), [kind, url])
    return new PagePlayer(page, kind)
  }

  async stop() {
    await this.context.close()
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** The test's end of a peer in a page. */
export class PagePeer {
  /** @param {import('playwright-core').Page} page @param {string} userID @param {any[]} members  who was there on entering */
  constructor(page, userID, members) {
    this.page = page
    this.userID = userID
    this.members = members
  }

  /**
   * Waits until so many different stamps of a member were read.
   * @param {string} userID @param {{ changes?: number, deadlineMs?: number }} [options]
   */
  async sees(userID, { changes = 10, deadlineMs = 10_000 } = {}) {
    const last = () => this.page.evaluate((id) => window.peer.sees(id), userID)
    await this.#wait(([id, least]) => (window.peer.sees(id)?.changes ?? 0) >= least, [userID, changes], deadlineMs, async () => `${this.userID} sees ${changes} pictures of ${userID}; now ${JSON.stringify(await last())}`)
    return last()
  }

  /** Waits until a member's tone is heard. @param {string} userID @param {number} frequencyHz */
  async hears(userID, frequencyHz, deadlineMs = 10_000) {
    const last = () => this.page.evaluate(([id, hz]) => window.peer.hears(id, hz), [userID, frequencyHz])
    await this.#wait(([id, hz]) => window.peer.hears(id, hz) > 0.7, [userID, frequencyHz], deadlineMs, async () => `${this.userID} hears ${frequencyHz} Hz of ${userID}; now ${await last()}`)
    return last()
  }

  /** Waits for an event. @param {string} type @param {string} userID */
  async event(type, userID, deadlineMs = 10_000) {
    const matches = ([name, id]) => window.peer.events.find(({ type, detail }) => type === name && (detail.userID ?? detail.member?.userID) === id) ?? null
    await this.#wait(matches, [type, userID], deadlineMs, async () => `${this.userID} is told ${type} of ${userID}`)
    return this.page.evaluate(matches, [type, userID])
  }

  /** Waits until the server says that these speak, the loudest first, or that nobody does. @param {string[]} userIDs */
  async knowsSpeakers(userIDs, deadlineMs = 10_000) {
    const matches = (ids) => JSON.stringify(window.peer.room.speakers.map(({ userID }) => userID)) === JSON.stringify(ids)
    await this.#wait(matches, userIDs, deadlineMs, async () => `${this.userID} knows that ${userIDs.join(', ') || 'nobody'} speaks`)
  }

  /** Waits for a message. */
  async message(deadlineMs = 10_000) {
    const first = () => window.peer.events.find(({ type }) => type === 'message') ?? null
    await this.#wait(first, [], deadlineMs, async () => `${this.userID} gets a message`)
    return this.page.evaluate(first)
  }

  /** @param {Function} condition @param {unknown[]} argument @param {number} timeout @param {() => Promise<string>} what */
  async #wait(condition, argument, timeout, what) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout, polling: 20 })
    } catch (error) {
      const events = await this.page.evaluate(() => JSON.stringify(window.peer.events.slice(-12)))
      throw new Error(`in ${timeout} ms it did not come true that ${await what()}; last events ${events}`, { cause: error })
    }
  }
}

/** The test's end of a player in a page. */
export class PagePlayer {
  /** @param {import('playwright-core').Page} page @param {string} kind */
  constructor(page, kind) {
    this.page = page
    this.kind = kind
  }

  /** What was seen so far. */
  read() {
    return this.page.evaluate(() => window.player.read())
  }

  /** Waits until so many different stamps were read. */
  async sees(changes = 10, deadlineMs = 15_000) {
    await this.#wait((least) => (window.player.read().changes ?? 0) >= least, changes, deadlineMs, `${changes} stamped pictures`)
    return this.read()
  }

  /** Waits until a tone is heard. @param {number} frequencyHz */
  async hears(frequencyHz, deadlineMs = 15_000) {
    await this.#wait((hz) => window.player.hears(hz) > 0.7, frequencyHz, deadlineMs, `a tone of ${frequencyHz} Hz`)
  }

  /** @param {Function} condition @param {unknown} argument @param {number} timeout @param {string} what */
  async #wait(condition, argument, timeout, what) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout, polling: 20 })
    } catch (error) {
      throw new Error(`${this.kind} waited ${timeout} ms in vain for ${what}; now ${JSON.stringify(await this.read())}`, { cause: error })
    }
  }
}

/**
 * Asks again and again, every 20 ms.
 * @template T @param {() => T | Promise<T>} condition @param {number} deadlineMs @param {string} what
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(condition, deadlineMs, what) {
  for (const end = Date.now() + deadlineMs; Date.now() < end; ) {
    const value = await condition()
    if (value) return value
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`in ${deadlineMs} ms there was no sign of ${what}`)
}
