/** Browsers in one room: picture by stamp and colour, sound by tone. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, PagePeer, Server } from './harness.mjs'

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

for (const [codec, roomID] of [['H264', 2001], ['VP8', 2002]])
  test(`two pages see each other's picture and hear each other's tone with ${codec}`, async (t) => {
    const anna = await browser.peer(server, await server.ticket('anna', roomID), { codec, toneHz: 700, hue: 0 })
    const bert = await browser.peer(server, await server.ticket('bert', roomID), { codec, toneHz: 1300, hue: 220 })
    const [annasView, bertsView] = await Promise.all([anna.sees('bert'), bert.sees('anna')])
    await Promise.all([anna.hears('bert', 1300), bert.hears('anna', 700)])

    // hsl(220…) is blue, hsl(0…) is red: whose picture it is.
    assert.ok(annasView.colour[2] > annasView.colour[0], `bert's picture is blue: ${annasView.colour}`)
    assert.ok(bertsView.colour[0] > bertsView.colour[2], `anna's picture is red: ${bertsView.colour}`)
    for (const [peer, other, view] of [[anna, 'bert', annasView], [bert, 'anna', bertsView]]) {
      assert.equal(view.width, 640)
      assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
      assert.ok((await peer.page.evaluate(() => window.peer.codecs('up'))).includes(`video/${codec}`))
      const [{ streams, protocol }] = (await peer.page.evaluate(() => window.peer.members())).filter(({ userID }) => userID === other)
      assert.equal(protocol, 'webrtc')
      assert.deepEqual(streams.map(({ stream, video }) => [stream, video.codec]), [['main', codec]])
    }
    t.diagnostic(`from one page's canvas to the other's, median: ${annasView.medianAgeMs} and ${bertsView.medianAgeMs} ms`)

    const carl = await browser.peer(server, await server.ticket('carl', roomID))
    assert.deepEqual(carl.members.map(({ userID }) => userID).sort(), ['anna', 'bert'])
    const [firstOfAnna, firstOfBert] = await Promise.all([carl.sees('anna', { changes: 1 }), carl.sees('bert', { changes: 1 })])
    const enteredAt = await carl.page.evaluate(() => window.peer.enteredAt)
    const waits = [firstOfAnna, firstOfBert].map(({ firstAt }) => Math.round(firstAt - enteredAt))
    t.diagnostic(`the one who joins late sees the others after ${waits.join(' and ')} ms, from before his WebSocket connects`)
    assert.ok(Math.max(...waits) < 1000, `a late one sees a picture within 1 s: ${waits} ms`)
    await Promise.all([carl.hears('anna', 700), carl.hears('bert', 1300)])

    await bert.page.evaluate(() => window.peer.room.leave())
    await Promise.all([anna.event('member-left', 'bert'), carl.event('member-left', 'bert')])
    await carl.sees('anna', { changes: (await carl.page.evaluate(() => window.peer.sees('anna').changes)) + 10 })
    for (const { page } of [anna, bert, carl]) await page.close()
  })

for (const [codec, roomID] of [['VP9', 2011], ['AV1', 2012]])
  test(`${codec} passes through`, async () => {
    const anna = await browser.peer(server, await server.ticket('anna', roomID), { codec, toneHz: 700 })
    const bert = await browser.peer(server, await server.ticket('bert', roomID))
    await Promise.all([bert.sees('anna'), bert.hears('anna', 700)])
    assert.ok((await bert.page.evaluate(() => window.peer.codecs('down'))).includes(`video/${codec}`))
    for (const { page } of [anna, bert]) await page.close()
  })

test('a page that UDP does not reach takes TCP', async () => {
  const ticket = await server.ticket('anna', 2013)
  const page = await browser.peerPage(server)
  await page.evaluate(() => {
    const set = RTCPeerConnection.prototype.setRemoteDescription
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      return set.call(this, { type, sdp: sdp.replace(/^a=candidate:\S+ \d+ udp .*\r\n/gim, '') })
    }
  })
  await page.evaluate((it) => window.peer.enter(it), ticket)
  await page.evaluate(() => window.peer.publish({ toneHz: 700, hue: 0 }))
  const anna = new PagePeer(page, 'anna', [])
  const bert = await browser.peer(server, await server.ticket('bert', 2013), { toneHz: 1300, hue: 220 })
  await Promise.all([anna.sees('bert'), anna.hears('bert', 1300), bert.sees('anna'), bert.hears('anna', 700)])
  const protocols = await page.evaluate(async () => {
    const { up, down } = await window.peer.room.stats()
    return [up, down].map((report) => [...report.values()].find(({ type, state, nominated }) => type === 'candidate-pair' && nominated && state === 'succeeded')).map((pair, n) => [up, down][n].get(pair.localCandidateId).protocol)
  })
  assert.deepEqual(protocols, ['tcp', 'tcp'])
  for (const peer of [anna, bert]) await peer.page.close()
})

test('a muted microphone is silent to the others, who are told', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 2003), { toneHz: 700 })
  const bert = await browser.peer(server, await server.ticket('bert', 2003))
  await bert.hears('anna', 700)
  await anna.page.evaluate(() => window.peer.room.mute('main', 'audio', true))
  const { detail } = await bert.event('muted', 'anna')
  assert.deepEqual(detail, { userID: 'anna', stream: 'main', kind: 'audio', muted: true })
  await bert.page.waitForFunction(() => window.peer.hears('anna', 700) < 0.1)
  await anna.page.evaluate(() => window.peer.room.mute('main', 'audio', false))
  await bert.hears('anna', 700)
  for (const { page } of [anna, bert]) await page.close()
})

test('everybody is told who speaks, and that nobody does any more', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 2007), { toneHz: 700 })
  const bert = await browser.peer(server, await server.ticket('bert', 2007))
  await Promise.all([anna.knowsSpeakers(['anna']), bert.knowsSpeakers(['anna'])])
  const { detail } = await bert.page.evaluate(() => window.peer.events.find(({ type }) => type === 'speakers'))
  // A tone of a quarter of full scale has -15 dB; browsers make it louder or softer as they like.
  assert.ok(detail.speakers[0].stream === 'main' && detail.speakers[0].level > -40 && detail.speakers[0].level < 0, JSON.stringify(detail))
  const carl = await browser.peer(server, await server.ticket('carl', 2007))
  await carl.knowsSpeakers(['anna'])
  // The server is not asked: a microphone that is switched off sends silence.
  await anna.page.evaluate(() => window.peer.silence())
  await Promise.all([anna, bert, carl].map((peer) => peer.knowsSpeakers([])))
  // A steady tone and a silence are two words, however long they last.
  assert.equal(await bert.page.evaluate(() => window.peer.events.filter(({ type }) => type === 'speakers').length), 2)
  for (const { page } of [anna, bert, carl]) await page.close()
})

test('a stream that is unpublished goes, and comes back when it is published again', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 2004), { toneHz: 700 })
  const bert = await browser.peer(server, await server.ticket('bert', 2004))
  await bert.sees('anna')
  await anna.page.evaluate(() => window.peer.room.unpublish('main'))
  await bert.event('stream-removed', 'anna')
  await bert.page.evaluate(() => {
    window.peer.eyes.clear()
    window.peer.ears.clear()
  })
  await anna.page.evaluate(() => window.peer.publish({ toneHz: 900 }))
  await Promise.all([bert.sees('anna'), bert.hears('anna', 900)])
  for (const { page } of [anna, bert]) await page.close()
})

test('a page that closes without a word is seen leaving', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 2005), { toneHz: 700 })
  const bert = await browser.peer(server, await server.ticket('bert', 2005))
  await bert.sees('anna')
  await anna.page.close()
  await bert.event('member-left', 'anna')
  await bert.page.close()
})

test('a refused ticket says why, with its code', async () => {
  const ticket = await server.ticket('anna', 2006)
  const page = await browser.peerPage(server)
  const error = await page.evaluate((it) => window.peer.enter(it).catch(({ code, message, advice }) => ({ code, message, advice })), { ...ticket, userID: 'somebody-else' })
  assert.equal(error.code, 70003)
  assert.ok(error.message && error.advice, JSON.stringify(error))
  await page.close()
})
