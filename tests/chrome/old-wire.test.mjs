/** Clients that speak the wire of `WebRTCAPI` at the TLS port, both those that offer and those that answer, meet the rest of the world. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, Server } from './harness.mjs'

/** Longest wait for what takes a moment on a quiet machine. */
const WAIT_MS = 30_000

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start({ 'https.listen': '127.0.0.1:0', 'demo.test_stream': 'false' })
  browser = await Browser.start({ ignoreHTTPSErrors: true })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

const proxy = () => `wss://${server.https.replace('127.0.0.1', 'localhost')}/`

class Old {
  /** @param {import('playwright-core').Page} page @param {string} userID */
  constructor(page, userID) {
    this.page = page
    this.userID = userID
  }

  /** A page in a room. @param {string} userID @param {string | number} roomID */
  static async join(userID, roomID, { publish, ...how } = {}) {
    const page = await browser.peerPage(server)
    await page.addScriptTag({ type: 'module', url: '/test/chrome/old-wire-page.js' })
    await page.waitForFunction(() => 'old' in window)
    await page.evaluate(([ticket, how]) => window.old.join(ticket, how), [await server.ticket(userID, roomID), { proxy: proxy(), ...how }])
    if (publish) await page.evaluate(async (look) => window.old.publish(await window.peer.camera(look)), publish)
    return new Old(page, userID)
  }

  sees(userID, { kind = 'main', changes = 5 } = {}) {
    return this.#wait(([id, kind, least]) => (window.old.sees(id, kind)?.changes ?? 0) >= least, [userID, kind, changes], `sees ${kind} of ${userID}`)
  }

  hears(userID, hz, kind = 'main') {
    return this.#wait(([id, hz, kind]) => window.old.hears(id, hz, kind) > 0.7, [userID, hz, kind], `hears ${userID}`)
  }

  /** @param {number} cmd @param {object} content  what it says, among other things */
  told(cmd, content = {}) {
    return this.#wait(([cmd, fields]) => window.old.said.some((one) => one.cmd === cmd && Object.entries(fields).every(([name, value]) => one.content[name] === value)), [cmd, content], `is told ${cmd} ${JSON.stringify(content)}`)
  }

  async #wait(condition, argument, what) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout: WAIT_MS, polling: 20 })
    } catch (error) {
      const known = await this.page.evaluate(() => JSON.stringify({ said: window.old.said.map(({ cmd, content }) => [cmd, JSON.stringify(content).slice(0, 120)]), eyes: [...window.old.eyes].map(([key, eye]) => [key, eye.read()]), states: [...window.old.connections].map(([key, one]) => [key, one.connectionState, one.signalingState]) }))
      throw new Error(`${this.userID} never ${what}: ${known}`, { cause: error })
    }
  }
}

for (const [what, version] of [['offer to receive', '0'], ['answer the server', '1001']]) {
  test(`pages that ${what} see and hear one another and a page of ours, screen included`, async () => {
    const room = 5000 + Number(version)
    const anna = await Old.join('anna', room, { version, publish: { toneHz: 700, hue: 0 } })
    const bert = await Old.join('bert', room, { version, publish: { toneHz: 1300, hue: 220 } })
    const carl = await browser.peer(server, await server.ticket('carl', room), { toneHz: 900 })
    await Promise.all([anna.sees('bert'), anna.hears('bert', 1300), bert.sees('anna'), bert.hears('anna', 700)])
    await Promise.all([anna.sees('carl'), bert.hears('carl', 900), carl.sees('anna'), carl.hears('bert', 1300)])
    if (version === '0') assert.deepEqual(await anna.page.evaluate(() => window.old.marks.bert), [1, 2], 'what the SSRCs say of their tracks')

    // The screen comes beside the camera, and goes without touching it.
    const before = await anna.page.evaluate(() => window.old.sees('carl').changes)
    await carl.page.evaluate(() => window.peer.publish({ stream: 'aux', hue: 120 }))
    await Promise.all([anna.sees('carl', { kind: 'aux' }), bert.sees('carl', { kind: 'aux' })])
    if (version === '0') assert.ok((await anna.page.evaluate(() => window.old.sees('carl').changes)) >= before, 'the camera of before goes on')
    await carl.page.evaluate(() => window.peer.room.unpublish('aux'))
    await anna.told(0x12, { srcopenid: 'carl' })
    const seen = await anna.page.evaluate(() => window.old.sees('carl').changes)
    await anna.sees('carl', { changes: version === '0' ? seen + 5 : 5 })

    // Who closes a connection by itself may offer again.
    if (version === '0') {
      await anna.page.evaluate(() => window.old.restart('bert'))
      await Promise.all([anna.sees('bert'), anna.hears('bert', 1300)])
    }

    await anna.page.evaluate(() => window.old.change(4))
    const { detail } = await carl.event('muted', 'anna')
    assert.deepEqual(detail, { userID: 'anna', stream: 'main', kind: 'audio', muted: true })
    await bert.told(0x17)
    await anna.page.evaluate(() => window.old.change(3))
    await bert.hears('anna', 700)

    await anna.page.evaluate(() => window.old.update())
    await anna.page.evaluate(() => window.old.unpublish())
    await Promise.all([bert.told(0x12, { srcopenid: 'anna' }), carl.event('stream-removed', 'anna')])

    assert.equal(await bert.page.evaluate(() => window.old.reconnect()), 1)
    await carl.page.evaluate(() => window.peer.room.unpublish('main'))
    await bert.told(0x12, { srcopenid: 'carl' })
    await bert.page.evaluate(() => window.old.socket.close(1000))
    await carl.event('member-left', 'bert')
    for (const { page } of [anna, bert, carl]) await page.close()
  })
}

test('who is sent away, or enters twice, is told in the words of this wire', async () => {
  const owner = await browser.peer(server, await server.ticket('owner', 5100), { toneHz: 700 })
  const anna = await Old.join('anna', 5100)
  await anna.sees('owner')
  await owner.page.evaluate(() => window.peer.room.kick('anna'))
  await anna.told(0x08, { type: 'kick' })
  assert.equal(await anna.page.evaluate(() => window.old.closed), 1000)
  const first = await Old.join('bert', 5100)
  const second = await Old.join('bert', 5100)
  await Promise.all([first.told(0x08, { type: 'kick', code: 73010 }), second.sees('owner')])
  for (const { page } of [owner, anna, first, second]) await page.close()
})

test('a screen may be the only thing that a second client sends', async () => {
  const carl = await browser.peer(server, await server.ticket('carl', 5101))
  const share = await Old.join('share_anna', 5101, { fields: { isAuxUser: 1 }, publish: { toneHz: 800, hue: 60 } })
  const bert = await Old.join('bert', 5101)
  const dora = await Old.join('dora', 5101, { version: '1001' })
  await carl.event('stream-added', 'share_anna')
  assert.deepEqual((await carl.page.evaluate(() => window.peer.members().find(({ userID }) => userID === 'share_anna').streams)).map(({ stream }) => stream), ['aux'])
  for (const old of [bert, dora]) await Promise.all([old.sees('share_anna', { kind: 'aux' }), old.hears('share_anna', 800, 'aux')])
  for (const { page } of [carl, share, bert, dora]) await page.close()
})

test('a refused ticket is told in the channel or in the answer to joining, with its code', async () => {
  const page = await browser.peerPage(server)
  await page.addScriptTag({ type: 'module', url: '/test/chrome/old-wire-page.js' })
  await page.waitForFunction(() => 'old' in window)
  const ticket = await server.ticket('dora', 5102)
  const refused = await page.evaluate(
    ([ticket, proxy]) =>
      new Promise((resolve) => {
        window.old.join({ ...ticket, userID: 'somebody-else' }, { proxy })
        window.old.socket.addEventListener('message', ({ data }) => resolve(JSON.parse(data)))
      }),
    [ticket, proxy()],
  )
  assert.equal(refused.cmd, 0x50)
  assert.equal(refused.content.errorCode, 70003)
  const wrong = await page.evaluate(([ticket, proxy]) => new window.OldClient().join({ ...ticket, privateMapKey: 'x' }, { proxy }).catch((error) => error.message), [ticket, proxy()])
  assert.match(wrong, /^71002 /)
  await page.close()
})
