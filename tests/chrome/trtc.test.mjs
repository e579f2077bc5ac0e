/**
 * Pages of the vendor's browser library, `trtc-js-sdk` 4.6.2 as the registry has it: they change the host, and are in one room with
 * pages of ours and with phones that push.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { play, pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server } from './harness.mjs'

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
      await this.page.waitForFunction(condition, argument, { timeout: 15_000, polling: 20 })
    } catch (error) {
      const known = await this.page.evaluate(() => JSON.stringify({ events: window.guest.events, eyes: [...window.guest.eyes].map(([key, eye]) => [key, eye.read()]) }))
      throw new Error(`${this.userID} never ${what}: ${known}`, { cause: error })
    }
  }
}

test('two pages of theirs, a page of ours, a phone that pushes and a player are in one room and all see all', async (t) => {
  const anna = await guest('anna', 4001, { publish: { toneHz: 700, hue: 0 } })
  const bert = await guest('bert', 4001, { publish: { toneHz: 1300, hue: 220 } })
  await Promise.all([anna.sees('bert'), anna.hears('bert', 1300), bert.sees('anna'), bert.hears('anna', 700)])

  const carl = await browser.peer(server, await server.ticket('carl', 4001), { toneHz: 900 })
  assert.deepEqual(carl.members.map(({ userID }) => userID).sort(), ['anna', 'bert'])
  await Promise.all([carl.sees('anna'), carl.hears('bert', 1300), anna.sees('carl'), bert.hears('carl', 900)])

  const phone = pushPhone(server.pushUrl(await server.ticket('phone', 4001)))
  t.after(() => phone.kill())
  await Promise.all([anna.sees('phone'), bert.sees('phone'), bert.hears('phone', 1000), carl.sees('phone')])
  const player = play(server.playUrls(await server.ticket('x', 4001), 'anna').flv)
  t.after(() => player.stop())
  await Promise.all([player.stamps(20, 20_000), player.tone(700, 10_000)])
  await player.stop()

  await anna.page.evaluate(() => window.guest.local.muteAudio())
  await bert.event('mute-audio', 'anna')
  const { detail } = await carl.event('muted', 'anna')
  assert.deepEqual(detail, { userID: 'anna', stream: 'main', kind: 'audio', muted: true })
  await bert.page.waitForFunction(() => window.guest.hears('anna', 700) < 0.1)
  await anna.page.evaluate(() => window.guest.local.unmuteAudio())
  await Promise.all([bert.event('unmute-audio', 'anna'), bert.hears('anna', 700)])

  await phone.stop()
  await Promise.all([anna.event('peer-leave', 'phone'), bert.event('stream-removed', 'phone')])
  await anna.page.evaluate(() => window.guest.client.unpublish(window.guest.local))
  await Promise.all([bert.event('peer-leave', 'anna'), carl.event('stream-removed', 'anna')])
  await bert.page.evaluate(() => window.guest.client.leave())
  await carl.event('member-left', 'bert')
  for (const { page } of [anna, bert, carl]) await page.close()
})
