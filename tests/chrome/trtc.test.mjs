/**
 * Pages of the vendor's browser library, `trtc-js-sdk` 4.6.2 as the registry has it: they change the host, and are in one room with
 * pages of ours and with phones that push.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, before, test } from 'node:test'

import { play, pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'

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

/** A page of theirs, in a room. @param {string} userID @param {string | number} roomID */
async function guest(userID, roomID, { publish, ...how } = {}) {
  const page = await browser.peerPage(server)
  await page.addScriptTag({ url: '/test/chrome/node_modules/trtc-js-sdk/trtc.js' })
  await page.addScriptTag({ type: 'module', url: '/test/chrome/trtc-page.js' })
  await page.waitForFunction(() => 'guest' in window)
  const proxy = `wss://${server.https.replace('127.0.0.1', 'localhost')}`
  await page.evaluate(([ticket, how]) => window.guest.join(ticket, how), [await server.ticket(userID, roomID), { proxy, ...how }])
  if (publish) await page.evaluate((it) => window.guest.publish(it), publish)
  return new Guest(page, userID)
}

class Guest {
  constructor(page, userID) {
    this.page = page
    this.userID = userID
  }

  sees(userID, { kind = 'main', changes = 10 } = {}) {
    return this.#wait(([id, kind, least]) => (window.guest.sees(id, kind)?.changes ?? 0) >= least, [userID, kind, changes], `sees ${userID}`)
  }

  hears(userID, frequencyHz) {
    return this.#wait(([id, hz]) => window.guest.hears(id, hz) > 0.7, [userID, frequencyHz], `hears ${userID}`)
  }

  event(type, userID) {
    return this.#wait(([type, id]) => window.guest.events.some((one) => one.type === type && (id === null || one.userID === id)), [type, userID ?? null], `is told ${type} of ${userID}`)
  }

  async #wait(condition, argument, what) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout: WAIT_MS, polling: 20 })
    } catch (error) {
      const known = await this.page.evaluate(() => JSON.stringify({ events: window.guest.events, eyes: [...window.guest.eyes].map(([key, eye]) => [key, eye.read()]) }))
      throw new Error(`${this.userID} never ${what}: ${known}`, { cause: error })
    }
  }
}

test('two pages of theirs, a page of ours, a phone that pushes and players are in one room and all see all; then one mutes, one is cut off for 5 s, one is sent away and one leaves', async (t) => {
  const cable = await Cable.to(server.https)
  t.after(() => cable.close())
  // Small pictures: three browsers that each look at three of them are much for a small machine.
  const size = { width: 320, height: 240 }
  const carl = await browser.peer(server, await server.ticket('carl', 4001), { toneHz: 900, ...size })
  const anna = await guest('anna', 4001, { publish: { toneHz: 700, hue: 0, ...size }, proxy: `wss://localhost:${cable.port}` })
  const bert = await guest('bert', 4001, { publish: { toneHz: 1300, hue: 220, ...size } })
  const phone = pushPhone(server.pushUrl(await server.ticket('phone', 4001)))
  t.after(() => phone.kill())
  // Everybody sees and hears everybody else. Pages in the background draw once a second.
  const tones = { anna: 700, bert: 1300, carl: 900, phone: 1000 }
  for (const one of [anna, bert, carl]) {
    const others = Object.entries(tones).filter(([userID]) => userID !== one.userID)
    await Promise.all(others.flatMap(([userID, hz]) => [one.sees(userID, { changes: 4, deadlineMs: WAIT_MS }), one.hears(userID, hz, WAIT_MS)]))
  }
  const [red, blue] = [await bert.page.evaluate(() => window.guest.sees('anna').colour), await anna.page.evaluate(() => window.guest.sees('bert').colour)]
  assert.ok(red[0] > red[2] && blue[2] > blue[0], `whose picture is whose: ${red} and ${blue}`)
  const ticket = await server.ticket('x', 4001)
  for (const [userID, hz] of Object.entries(tones)) {
    const player = play(server.playUrls(ticket, userID).flv)
    await Promise.all([player.stamps(20, 20_000), player.tone(hz, 20_000)])
    player.stop()
  }

  await bert.page.evaluate(() => window.guest.local.muteAudio())
  await Promise.all([anna.event('mute-audio', 'bert'), carl.event('muted', 'bert')])
  await anna.page.waitForFunction(() => window.guest.hears('bert', 1300) < 0.1, null, { polling: 20 })

  // What happens while her channel is cut she hears when it is back; to the others she was never away.
  cable.cut(5_000)
  await anna.page.waitForFunction(() => window.guest.events.some(({ state }) => state === 'RECONNECTING'))
  await bert.page.evaluate(() => window.guest.local.unmuteAudio())
  const before = await carl.page.evaluate(() => window.peer.sees('anna').changes)
  await Promise.all([anna.event('unmute-audio', 'bert'), anna.hears('bert', 1300), carl.sees('anna', { changes: before + 3, deadlineMs: WAIT_MS })])
  assert.ok(cable.isWhole, 'not before the cable is whole again')
  const noticed = await carl.page.evaluate(() => window.peer.events.filter(({ type, detail }) => ['member-left', 'stream-removed'].includes(type) && detail.userID === 'anna').length)
  assert.equal(noticed, 0, 'nobody is told that she left')

  // He entered first, so that the room is his.
  await carl.page.evaluate(() => window.peer.room.kick('bert'))
  await Promise.all([bert.event('client-banned'), carl.event('member-left', 'bert'), anna.event('peer-leave', 'bert')])
  await anna.page.evaluate(() => window.guest.client.leave())
  await carl.event('member-left', 'anna')
  await phone.stop()
  await carl.event('stream-removed', 'phone')
  for (const { page } of [anna, bert, carl]) await page.close()
})

test('who mutes, unpublishes and leaves is seen to, on their pages and on ours', async () => {
  const anna = await guest('anna', 4002, { publish: { toneHz: 700 } })
  const bert = await guest('bert', 4002)
  const carl = await browser.peer(server, await server.ticket('carl', 4002))
  await bert.hears('anna', 700)
  await anna.page.evaluate(() => window.guest.local.muteAudio())
  await bert.event('mute-audio', 'anna')
  const { detail } = await carl.event('muted', 'anna')
  assert.deepEqual(detail, { userID: 'anna', stream: 'main', kind: 'audio', muted: true })
  await bert.page.waitForFunction(() => window.guest.hears('anna', 700) < 0.1)
  await anna.page.evaluate(() => window.guest.local.unmuteAudio())
  await Promise.all([bert.event('unmute-audio', 'anna'), bert.hears('anna', 700)])

  await anna.page.evaluate(() => window.guest.client.unpublish(window.guest.local))
  await Promise.all([bert.event('peer-leave', 'anna'), carl.event('stream-removed', 'anna')])
  await bert.page.evaluate(() => window.guest.ears.clear())
  await anna.page.evaluate(() => window.guest.publish({ toneHz: 500 }))
  await bert.hears('anna', 500)
  await anna.page.evaluate(() => window.guest.client.leave())
  await carl.event('member-left', 'anna')
  for (const { page } of [anna, bert, carl]) await page.close()
})

test('who wants sound only gets no picture until he wants it', async () => {
  const anna = await guest('anna', 4003, { publish: { toneHz: 700 } })
  const bert = await guest('bert', 4003, { options: { audio: true, video: false } })
  await bert.hears('anna', 700)
  await bert.page.waitForFunction(() => window.guest.streams.get('main/anna')?.hasVideo() === false)
  await bert.page.evaluate(() => {
    window.guest.eyes.clear()
    return window.guest.client.subscribe(window.guest.streams.get('main/anna'), { audio: true, video: true })
  })
  await bert.sees('anna')
  for (const { page } of [anna, bert]) await page.close()
})

test('a screen is an auxiliary stream, whether a second client of theirs sends it or a page of ours, and what clients report is known', async () => {
  const anna = await guest('anna', 4007, { publish: { toneHz: 700 } })
  const share = await guest('share_anna', 4007, { isScreenShareOnly: true, publish: { toneHz: 500, hue: 120 } })
  const bert = await guest('bert', 4007)
  const carl = await browser.peer(server, await server.ticket('carl', 4007), { toneHz: 900 })
  await Promise.all([bert.sees('anna'), bert.sees('share_anna', { kind: 'auxiliary' })])
  await bert.event('stream-added', 'share_anna')
  assert.equal(await bert.page.evaluate(() => window.guest.events.find(({ type, userID }) => type === 'stream-added' && userID === 'share_anna').kind), 'auxiliary')
  await carl.page.waitForFunction(() => (window.peer.sees('share_anna', 'aux')?.changes ?? 0) >= 10, null, { polling: 20 })
  assert.equal(await carl.page.evaluate(() => window.peer.sees('share_anna')), null, 'it has no main stream')

  await carl.page.evaluate(() => window.peer.publish({ stream: 'aux', hue: 300 }))
  await Promise.all([anna.sees('carl', { kind: 'auxiliary' }), bert.sees('carl', { kind: 'auxiliary' }), bert.sees('carl')])

  // A report comes every 2 s.
  const headers = { authorization: `Bearer ${await server.secret()}` }
  const { sdkAppID } = await server.ticket('x', 4007)
  const quality = await until(async () => {
    const { members } = await (await fetch(`http://${server.http}/api/v1/apps/${sdkAppID}/rooms/4007/members`, { headers })).json()
    const { quality } = members.find(({ userID }) => userID === 'anna')
    return quality?.sentBps > 0 && quality.from.some(({ userID, videoBps }) => userID === 'carl' && videoBps > 0) && quality
  }, 15_000, 'what anna reports')
  assert.ok(quality.reports > 0 && quality.receivedBps > 0, JSON.stringify(quality))
  await share.page.evaluate(() => window.guest.client.unpublish(window.guest.local))
  await bert.event('peer-leave', 'share_anna')
  for (const { page } of [anna, share, bert, carl]) await page.close()
})

test('who is sent away is told, and so is who enters twice', async () => {
  const owner = await browser.peer(server, await server.ticket('owner', 'a room by name'), { toneHz: 700 })
  const anna = await guest('anna', 'a room by name', { useStringRoomId: true, mode: 'live', role: 'audience' })
  await anna.sees('owner')
  assert.equal((await owner.event('member-entered', 'anna')).detail.member.role, 'audience')
  await owner.page.evaluate(() => window.peer.room.kick('anna'))
  await anna.event('client-banned')
  await owner.event('member-left', 'anna')

  const first = await guest('bert', 'a room by name', { useStringRoomId: true })
  const second = await guest('bert', 'a room by name', { useStringRoomId: true })
  await Promise.all([first.event('client-banned'), second.sees('owner')])
  for (const { page } of [owner, anna, first, second]) await page.close()
})

test('a channel that breaks and is back after 5 s is not noticed by the others, and nothing is missed', async (t) => {
  const cable = await Cable.to(server.https)
  t.after(() => cable.close())
  const anna = await guest('anna', 4005, { publish: { toneHz: 700 }, proxy: `wss://localhost:${cable.port}` })
  const carl = await browser.peer(server, await server.ticket('carl', 4005))
  await carl.sees('anna')
  cable.cut(5_000)
  await anna.page.waitForFunction(() => window.guest.events.some(({ state }) => state === 'RECONNECTING'))
  // What happens meanwhile she hears when she is back.
  await carl.page.evaluate(() => window.peer.publish({ toneHz: 900 }))
  await Promise.all([anna.sees('carl'), anna.hears('carl', 900)])
  assert.ok(cable.isWhole, 'not before the cable is whole again')
  const events = await carl.page.evaluate(() => window.peer.events.map(({ type }) => type))
  assert.ok(!events.includes('member-left') && !events.includes('stream-removed'), `${events}`)
  await carl.sees('anna', { changes: (await carl.page.evaluate(() => window.peer.sees('anna').changes)) + 10 })
  for (const { page } of [anna, carl]) await page.close()
})

test('a refused ticket fails the join with its code', async () => {
  const page = await guest('dora', 4006).then((dora) => dora.page)
  const proxy = `wss://${server.https.replace('127.0.0.1', 'localhost')}`
  const ticket = { ...(await server.ticket('dora', 4006)), userID: 'somebody-else' }
  const error = await page.evaluate(([ticket, proxy]) => window.guest.join(ticket, { proxy }).catch((error) => error.message), [ticket, proxy])
  assert.match(error, /70003/)
  await page.close()
})

/** A cable that can be cut: whoever connects while it is cut waits until it is whole. */
class Cable {
  /** @type {Set<import('node:net').Socket>} */ #sockets = new Set()
  /** @type {Promise<void>} */ #whole = Promise.resolve()
  isWhole = true

  /** @param {string} address */
  static async to(address) {
    const [host, port] = address.split(':')
    const cable = new Cable()
    cable.server = createServer(async (near) => {
      near.on('error', () => {})
      await cable.#whole
      const far = connect(Number(port), host)
      for (const [one, other] of [[near, far], [far, near]]) {
        cable.#sockets.add(one)
        one.on('error', () => other.destroy()).on('close', () => other.destroy())
        one.pipe(other)
      }
    })
    await once(cable.server.listen(0, '127.0.0.1'), 'listening')
    cable.port = cable.server.address().port
    return cable
  }

  cut(milliseconds) {
    this.isWhole = false
    this.#whole = new Promise((resolve) => setTimeout(resolve, milliseconds)).then(() => void (this.isWhole = true))
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
  }

  close() {
    for (const socket of this.#sockets) socket.destroy()
    this.server.close()
  }
}
