/**
 * A mini-program's component in a real browser: the folder as it is, compiled and run by the component runtime of the mini-program's own
 * makers (glass-easel). What the phone gives (pusher, players, sockets) stands in `easel-page.js`.
 */

import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { build } from 'esbuild'
import compiler from 'glass-easel-template-compiler'

import { pushPhone } from '../tools/media-tools.mjs'

const HERE = fileURLToPath(new URL('.', import.meta.url))
/** How wide a phone is that has 750 rpx, in CSS pixels. */
const PHONE = { width: 375, height: 667 }

/** How long anything may take; three browsers' pages and two ffmpegs on a small machine take their time. */
const WAIT_MS = 30_000

/** A phone with one component on its screen. */
export class Phone {
  /** @param {import('playwright-core').Page} page */
  constructor(page) {
    this.page = page
    /** What the phone's pusher sends. @type {import('../tools/media-tools.mjs').Pusher | null} */ this.pusher = null
  }

  /**
   * @param {import('./harness.mjs').Browser} browser @param {import('./harness.mjs').Server} server
   * @param {string} folder  the mini-program's
   * @param {string} path  of the component, below it
   * @param {object} properties
   * @param {{ toneHz: number, colour: [number, number] }} look  what its camera and microphone give
   */
  static async place(browser, server, folder, path, properties, look) {
    const page = await browser.page()
    const phone = new Phone(page)
    await page.setViewportSize(PHONE)
    await page.exposeFunction('pusherStarts', (/** @type {string} */ url) => {
      phone.pusher?.kill()
      phone.pusher = pushPhone(url, look)
    })
    await page.exposeFunction('pusherStops', () => {
      phone.pusher?.kill()
      phone.pusher = null
    })
    await page.goto(`${server.origin}/healthz`)
    await page.addScriptTag({ url: '/vendor/mpegts.js' })
    await page.addScriptTag({ type: 'module', content: await runtime() })
    await page.waitForFunction(() => 'easel' in window)
    await page.evaluate(([program, path, properties]) => window.easel.place(program, path, properties), [await compiled(folder), path, properties])
    return phone
  }

  /** Calls a method of the component. @param {string} method @param {...any} words */
  call(method, ...words) {
    return this.page.evaluate(([method, words]) => void window.easel.room[method](...words), /** @type {[string, any[]]} */ ([method, words]))
  }

  /** The component's data. */
  data() {
    return this.page.evaluate(() => JSON.parse(JSON.stringify(window.easel.room.data)))
  }

  /** Waits for an event of the component. @param {Record<string, any>} fields  that it has @param {string} what */
  raised(fields, what, deadlineMs = WAIT_MS) {
    return this.#wait((fields) => window.easel.events.find((event) => Object.entries(fields).every(([name, value]) => event[name] === value)), fields, what, deadlineMs)
  }

  /** Waits until a member's player shows new stamped pictures; few, because pages in the background draw once a second. @param {string} userID */
  async sees(userID, changes = 4) {
    await this.#wait(([userID, least]) => (window.easel.sees(userID)?.changes ?? 0) >= least, [userID, changes], `${changes} pictures of ${userID}`)
    return this.page.evaluate((userID) => window.easel.sees(userID), userID)
  }

  /** @param {string} userID @param {number} frequencyHz */
  hears(userID, frequencyHz) {
    return this.#wait(([userID, hz]) => window.easel.hears(userID, hz) > 0.7, [userID, frequencyHz], `${frequencyHz} Hz of ${userID}`)
  }

  /** Waits until exactly these have players. @param {string[]} userIDs */
  shows(userIDs) {
    return this.#wait((userIDs) => [...window.easel.players.keys()].sort().join() === userIDs, [...userIDs].sort().join(), `players of ${userIDs.join() || 'nobody'}`)
  }

  async end() {
    await this.page.evaluate(() => window.easel.release())
    this.pusher?.kill()
    await this.page.close()
  }

  /** @param {Function} condition @param {any} argument @param {string} what */
  async #wait(condition, argument, what, timeout = WAIT_MS) {
    try {
      const found = await this.page.waitForFunction(/** @type {any} */ (condition), argument, { timeout, polling: 20 })
      return found.jsonValue()
    } catch (error) {
      const state = await this.page.evaluate(() => JSON.stringify({ events: window.easel.events.slice(-3), players: [...window.easel.players].map(([of, { eye }]) => [of, eye.read()]) }))
      throw new Error(`in ${timeout} ms there was no sign of ${what}; ${state}`, { cause: error })
    }
  }
}

/** The runtime and the phone, as one script. */
async function runtime() {
  const { outputFiles } = await build({ entryPoints: [join(HERE, 'easel-page.js')], bundle: true, format: 'esm', external: ['/test/*'], write: false, logLevel: 'error' })
  return outputFiles[0].text
}

/**
 * The components of a mini-program, compiled: templates as a script, the rest as it is.
 * @param {string} folder
 */
async function compiled(folder) {
  const group = new compiler.TmplGroup()
  /** @type {Record<string, string>} */ const modules = {}
  const components = []
  for (const name of await readdir(join(folder, 'components'), { recursive: true })) {
    const path = `components/${name}`
    const text = () => readFile(join(folder, path), 'utf8')
    if (path.endsWith('.js')) modules[path] = await text()
    if (!path.endsWith('.wxml')) continue
    const stem = path.replace(/\.wxml$/, '')
    group.addTmpl(stem, await text())
    const [config, css] = await Promise.all(['.json', '.wxss'].map((kind) => readFile(join(folder, stem + kind), 'utf8').catch(() => '')))
    const scope = stem.split('/').at(-1)
    components.push({ path: stem, scope, config: JSON.parse(config || '{}'), css: scoped(css, `${scope}--`).replace(/([\d.]+)rpx/g, (_, n) => `calc(100vw * ${n} / 750)`) })
  }
  const templates = group.getTmplGenObjectGroups()
  group.free()
  return { templates, modules, components }
}

/** A component's style, for its own elements only: the runtime writes each class with the component's prefix. @param {string} css @param {string} prefix */
const scoped = (css, prefix) => css.replace(/[^{}]+\{/g, (selector) => selector.replace(/\.\\3(\d) ?/g, `.${prefix}$1`).replace(/\.(?=[a-z_-])/gi, (dot, at, text) => (text.startsWith(`.${prefix}`, at) ? dot : `.${prefix}`)))
