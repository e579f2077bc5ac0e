/** ffmpeg and browsers in one room, both ways. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { play, probe, pushObs, pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server } from './harness.mjs'

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

test('a phone that pushes RTMP is a member whom every page sees, hears and sees leaving', async (t) => {
  const pages = [await browser.peer(server, await server.ticket('anna', 3001)), await browser.peer(server, await server.ticket('bert', 3001))]
  const phone = pushPhone(server.pushUrl(await server.ticket('phone', 3001)))
  t.after(() => phone.kill())
  for (const page of pages) {
    const { detail } = await page.event('member-entered', 'phone')
    assert.equal(detail.member.protocol, 'rtmp')
    const view = await page.sees('phone')
    assert.deepEqual([view.width, view.height], [360, 640])
    assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
    await page.hears('phone', 1000)
    t.diagnostic(`from the phone's camera to ${page.userID}'s page, median: ${view.medianAgeMs} ms`)
  }
  const carl = await browser.peer(server, await server.ticket('carl', 3001))
  const { firstAt } = await carl.sees('phone', { changes: 1 })
  t.diagnostic(`a page that joins late sees the phone after ${Math.round(firstAt - (await carl.page.evaluate(() => window.peer.enteredAt)))} ms`)
  await phone.stop()
  for (const page of [...pages, carl]) await page.event('member-left', 'phone')
  for (const { page } of [...pages, carl]) await page.close()
})

test('OBS without B-frames is seen and heard', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', 3002))
  const obs = pushObs(server.pushUrl(await server.ticket('obs', 3002)), { width: 1280, height: 720, bFrames: 0 })
  t.after(() => obs.kill())
  const view = await anna.sees('obs')
  assert.deepEqual([view.width, view.height], [1280, 720])
  await anna.hears('obs', 1000)
  await obs.stop()
  await anna.event('member-left', 'obs')
  await anna.page.close()
})

test("a page's stream plays over RTMP and HTTP-FLV: H.264 and AAC, stamp and tone, within a second", async (t) => {
  const ticket = await server.ticket('anna', 3003)
  const anna = await browser.peer(server, ticket, { codec: 'H264', toneHz: 1000 })
  const watcher = await browser.peer(server, await server.ticket('bert', 3003))
  await watcher.sees('anna') // so that what follows does not time the page's start
  for (const [protocol, url] of Object.entries(server.playUrls(ticket, 'anna'))) {
    const player = play(url)
    t.after(() => player.stop())
    const [pictures, share] = await Promise.all([player.stamps(100, 20_000), player.tone(1000, 10_000)])
    // The first ones may be the kept group of pictures, which is old.
    const ages = pictures.slice(-20).map(({ ageMs }) => ageMs).sort((a, b) => a - b)
    const first = Math.round(player.firstPictureMs ?? Infinity)
    t.diagnostic(`${protocol}: first picture ${first} ms after ffmpeg started, median age ${ages[ages.length >> 1]} ms, tone ${share.toFixed(2)}`)
    assert.ok(player.spoilt <= 1 + player.pictures / 20, `${player.spoilt} spoilt of ${player.pictures} pictures`)
    await player.stop()

    // Once more with sound and picture known to flow: what a second player waits.
    const second = play(url)
    t.after(() => second.stop())
    const [{ ageMs }] = await second.stamps(1, 5_000)
    const wait = Math.round(second.firstPictureMs ?? Infinity)
    t.diagnostic(`${protocol}: a second player's first picture after ${wait} ms, ${ageMs} ms old`)
    assert.ok(Math.min(first, wait) < 1000, `the first picture over ${protocol} came after ${first} and ${wait} ms`)
    await second.stop()

    const streams = (await probe(url)).filter(({ codec_type }) => codec_type !== 'data') // RTMP's own messages
    assert.deepEqual(streams.map(({ codec_name }) => codec_name).sort(), ['aac', 'h264'])
    assert.equal(streams.find(({ codec_name }) => codec_name === 'aac')?.profile, 'LC')
  }
  for (const { page } of [anna, watcher]) await page.close()
})

test('a phone and an ffmpeg player meet without any browser', async (t) => {
  const ticket = await server.ticket('phone', 3004)
  const phone = pushPhone(server.pushUrl(ticket))
  t.after(() => phone.kill())
  const anna = await browser.peer(server, await server.ticket('anna', 3004))
  await anna.sees('phone')
  for (const [protocol, url] of Object.entries(server.playUrls(ticket, 'phone'))) {
    const player = play(url)
    t.after(() => player.stop())
    await Promise.all([player.stamps(10, 10_000), player.tone(1000, 10_000)])
    t.diagnostic(`${protocol}: first picture after ${Math.round(player.firstPictureMs ?? Infinity)} ms`)
    await player.stop()
  }
  await phone.stop()
  await anna.page.close()
})
