/** The library for pages: its types hold, what is made from it is up to date, and its own camera objects work in a room. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { Browser, Server, until } from './harness.mjs'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SDK = join(ROOT, 'web-demo/sdk')
const TSC = fileURLToPath(new URL('node_modules/.bin/tsc', import.meta.url))

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** @param {string[]} args */
const tsc = (...args) => run(TSC, args, { cwd: ROOT }).catch(({ stdout }) => assert.fail(stdout))

test('every script of the page keeps the types that its comments promise', async () => {
  await tsc('-p', 'web-demo/tsconfig.json')
})

test('the classic scripts and the declarations are those that the modules make', async (t) => {
  const made = await mkdtemp(join(tmpdir(), 'roomcast-sdk-'))
  t.after(() => rm(made, { recursive: true }))
  await run('sh', [join(SDK, 'build.sh'), made])
  const differing = []
  for (const folder of ['dist', 'types']) {
    const names = new Set([...(await readdir(join(SDK, folder))), ...(await readdir(join(made, folder)))])
    for (const name of names) {
      const texts = await Promise.all([SDK, made].map((place) => readFile(join(place, folder, name), 'utf8').catch(() => null)))
      if (texts[0] !== texts[1]) differing.push(`${folder}/${name}`)
    }
  }
  assert.deepEqual(differing, [], 'run web-demo/sdk/build.sh and commit what it makes')
})

test('the page asks for every module that it imports at once', async () => {
  const html = await readFile(join(ROOT, 'web-demo/index.html'), 'utf8')
  const named = [...html.matchAll(/modulepreload" href="\/([^"]+)"/g)].map(([, path]) => path).sort()
  const found = new Set()
  const visit = async (/** @type {string} */ path) => {
    if (found.has(path)) return
    found.add(path)
    const text = await readFile(join(ROOT, 'web-demo', path), 'utf8')
    for (const [, target] of text.matchAll(/^(?:import|export) .*?from '(\.[^']+)'/gm)) await visit(join(path, '..', target))
  }
  await visit('demo.js')
  found.delete('demo.js')
  assert.deepEqual(named, [...found].sort())
})

test('a TypeScript program that uses the library compiles, and one that misuses it does not', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'roomcast-types-'))
  t.after(() => rm(folder, { recursive: true }))
  await cp(SDK, join(folder, 'node_modules/roomcast'), { recursive: true })
  const options = ['--noEmit', '--strict', '--target', 'ES2022', '--skipLibCheck', '--module', 'ES2022', '--moduleResolution', 'bundler', '--lib', 'ES2022,DOM,DOM.Iterable']
  const head = `import { Room, createStream, RoomcastError } from 'roomcast'\n`
  await writeFile(
    join(folder, 'good.ts'),
    `${head}export async function join(): Promise<string[]> {
      const room = await Room.connect('wss://example.org/signal')
      const members = await room.enter({ sdkAppID: 1, userID: 'a', userSig: 's', roomID: 'r' })
      const camera = createStream({ audio: true, video: true })
      await camera.initialize()
      await room.publish(camera, { codec: 'VP8' })
      try { await room.kick('b') } catch (error) { if (error instanceof RoomcastError) console.log(error.code, error.advice) }
      const { tracks } = await room.figures()
      return [...members.map(({ name }) => name), ...tracks.map(({ codec, bps }) => codec + bps.toFixed())]
    }`,
  )
  await tsc(...options, join(folder, 'good.ts'))
  await writeFile(join(folder, 'bad.ts'), `${head}export const wrong = async (room: Room) => room.publish('camera', { codec: 'H265' })`)
  const { stdout } = await run(TSC, [...options, join(folder, 'bad.ts')]).then(
    () => assert.fail('a string was taken for a stream'),
    (error) => error,
  )
  assert.match(stdout, /bad\.ts/)
})

test('the classic script gives the same library as a global', async () => {
  const page = await browser.page()
  await page.goto(`${server.origin}/healthz`)
  await page.addScriptTag({ url: '/sdk/dist/roomcast.js' })
  const { names, system } = await page.evaluate(async () => ({ names: Object.keys(globalThis.roomcast), system: await globalThis.roomcast.checkSystemRequirements() }))
  for (const name of ['Room', 'RoomcastError', 'createStream', 'getCameras', 'getMicrophones', 'getSpeakers', 'isScreenShareSupported', 'VERSION']) assert.ok(names.includes(name), name)
  assert.equal(system.result, true)
  assert.equal(system.detail.isH264EncodeSupported, true)
  await page.close()
})

test('a local stream is published, muted and switched to another device, and its figures are read', async (t) => {
  const viewer = await browser.peer(server, await server.ticket('viewer', 7))
  const page = await browser.page()
  await page.goto(`${server.origin}/healthz`)
  await page.addScriptTag({ url: '/sdk/dist/roomcast.js' })
  await page.evaluate(async (ticket) => {
    const { Room, createStream, getCameras } = globalThis.roomcast
    const room = await Room.connect(`ws://${location.host}/signal`)
    await room.enter(ticket)
    const camera = createStream({ audio: true, video: true })
    await camera.setVideoProfile('360p')
    await camera.initialize()
    await camera.play(document.body)
    await room.publish(camera)
    Object.assign(globalThis, { room, camera, cameras: await getCameras() })
  }, await server.ticket('camera', 7))
  const info = () => viewer.page.evaluate(() => window.peer.members().find(({ userID }) => userID === 'camera')?.streams[0])
  await until(async () => (await info())?.video, 10_000, 'the stream of the camera')

  const figures = () => page.evaluate(async () => (await globalThis.room.figures()).tracks.find(({ kind }) => kind === 'video'))
  const video = await until(async () => [await figures()].find((it) => it?.bps > 20_000), 10_000, 'figures of what is sent')
  t.diagnostic(JSON.stringify(video))
  assert.deepEqual([video.direction, video.userID, video.stream, video.codec], ['up', 'camera', 'main', 'H264'])

  await page.evaluate(() => globalThis.camera.muteVideo())
  await until(async () => (await info())?.video.muted, 5000, 'the others being told of the mute')
  await page.evaluate(() => globalThis.camera.unmuteVideo())
  await until(async () => !(await info())?.video.muted, 5000, 'the others being told of the end of the mute')

  const tracks = await page.evaluate(async () => {
    const before = globalThis.camera.getVideoTrack().id
    await globalThis.camera.switchDevice('video', globalThis.cameras.at(-1).deviceId)
    return { before, after: globalThis.camera.getVideoTrack().id }
  })
  assert.notEqual(tracks.after, tracks.before)
  const sent = () => page.evaluate(async () => [...(await globalThis.room.stats()).up.values()].find(({ type, kind }) => type === 'media-source' && kind === 'video')?.trackIdentifier)
  await until(async () => (await sent()) === tracks.after, 5000, 'the new camera being sent')
  await until(async () => (await figures())?.fps > 0, 5000, 'pictures of the new camera')
  await page.evaluate(() => globalThis.room.leave())
  await page.close()
})

test('every code of the protocol and every word of the library has its Chinese', async () => {
  const { inChinese } = await import('../../web-demo/sdk/chinese.js')
  const codes = [...(await readFile(join(ROOT, 'signaling/PROTOCOL.md'), 'utf8')).matchAll(/^\| (7\d{4}) \| \d{3} \|/gm)].map(([, code]) => Number(code))
  assert.ok(codes.length > 60, `${codes.length} codes in the table`)
  const words = []
  for (const file of ['roomcast.js', 'signaling.js', 'up.js', 'local-stream.js'])
    for (const [, word] of (await readFile(join(ROOT, 'web-demo/sdk', file), 'utf8')).matchAll(/new RoomcastError\('([a-z-]+)'/g)) words.push(word)
  assert.ok(words.includes('unreachable') && words.includes('timeout'), words.join())
  const english = { message: 'in English', advice: 'in English' }
  const left = [...codes, ...words].filter((code) => {
    const { message, advice } = inChinese({ code, ...english })
    return !/\p{Script=Han}/u.test(message) || !/\p{Script=Han}/u.test(advice)
  })
  assert.deepEqual(left, [])
  assert.deepEqual(inChinese({ code: 'NotAllowedError', ...english }), english, 'what is not known keeps its own words')
})
