/** A WebRTC stack that is no browser and shares no code with one (werift) publishes by WHIP and plays by WHEP. */

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Player } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'
import { connection, negotiate, publish, udp } from './werift.mjs'

const ROOM = 4001
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

test('werift publishes by WHIP, and a page sees and hears it', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', ROOM))
  const session = await publish(t, server, await server.ticket('encoder', ROOM), { toneHz: 1000 })
  const { detail } = await anna.event('member-entered', 'encoder')
  assert.equal(detail.member.protocol, 'whip')
  const view = await anna.sees('encoder')
  assert.deepEqual([view.width, view.height], [640, 360])
  await anna.hears('encoder', 1000)
  assert.equal((await session.end()).status, 200)
  await anna.event('member-left', 'encoder')
  await anna.page.close()
})

test('werift plays a page by WHEP: stamp and tone', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', ROOM + 1), { codec: 'H264', toneHz: 1000 })
  const bert = await browser.peer(server, await server.ticket('bert', ROOM + 1))
  await bert.sees('anna')
  await playByWhep(t, 'anna')
  for (const { page } of [anna, bert]) await page.close()
})

test('werift plays by WHEP what werift publishes by WHIP: no browser at all', async (t) => {
  await publish(t, server, await server.ticket('encoder', ROOM + 1), { toneHz: 1000 })
  await playByWhep(t, 'encoder')
})

test('Chromium restarts ICE of its WHIP and WHEP sessions by PATCH, and pictures go on over the new path', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', ROOM + 2))
  t.after(() => anna.page.close())
  const tickets = [await server.ticket('camera', ROOM + 2), await server.ticket('viewer', ROOM + 2)]
  await anna.page.evaluate(async ([camera, viewer]) => {
    /** @param {string} url @param {any} ticket @param {Record<string, string>} query @param {(pc: RTCPeerConnection) => void} fill */
    const open = async (url, ticket, query, fill) => {
      const pc = new RTCPeerConnection()
      fill(pc)
      await pc.setLocalDescription()
      const { sdkAppID, roomID, userID, userSig, privateMapKey } = ticket
      const parameters = new URLSearchParams({ sdkappid: sdkAppID, ...(privateMapKey && { privatemapkey: privateMapKey }), ...query })
      const headers = { Authorization: `Bearer ${userSig}`, 'Content-Type': 'application/sdp' }
      const response = await fetch(`/${url}/${roomID}/${userID}?${parameters}`, { method: 'POST', headers, body: pc.localDescription?.sdp })
      const sdp = await response.text()
      if (response.status !== 201) throw new Error(sdp)
      await pc.setRemoteDescription({ type: 'answer', sdp })
      return { pc, session: response.headers.get('location') ?? '', tag: response.headers.get('etag') ?? '' }
    }
    const { peer } = /** @type {any} */ (window)
    const tracks = (await peer.camera({ hue: 90 })).getTracks()
    const up = await open('whip', camera, {}, (pc) => tracks.forEach((/** @type {MediaStreamTrack} */ track) => pc.addTransceiver(track, { direction: 'sendonly' })))
    const down = await open('whep', viewer, { play: 'camera' }, (pc) => {
      const stream = new MediaStream()
      pc.ontrack = ({ track }) => {
        stream.addTrack(track)
        if (track.kind === 'video') peer.watch('by-whep', stream)
      }
      pc.addTransceiver('audio', { direction: 'recvonly' })
      pc.addTransceiver('video', { direction: 'recvonly' })
    })
    Object.assign(window, { sessions: [up, down] })
  }, tickets)
  await anna.sees('by-whep')
  const restarted = await anna.page.evaluate(async () => {
    const results = []
    for (const one of /** @type {any} */ (window).sessions) {
      const { pc, session, tag } = one
      const before = pc.localDescription.sdp
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }))
      /** @param {string} sdp @param {string} name */
      const value = (sdp, name) => new RegExp(`a=${name}:(\\S+)`).exec(sdp)?.[1] ?? ''
      const [ufrag, pwd] = ['ice-ufrag', 'ice-pwd'].map((name) => value(pc.localDescription.sdp, name))
      const fragment = `a=ice-ufrag:${ufrag}\r\na=ice-pwd:${pwd}\r\n`
      const patch = (/** @type {string} */ match, body = fragment) =>
        fetch(session, { method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': match }, body })
      const stale = (await patch('"of-another-session"')).status
      const response = await patch('*')
      const ours = await response.text()
      const theirs = pc.currentRemoteDescription.sdp
        .replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${value(ours, 'ice-ufrag')}`)
        .replace(/a=ice-pwd:.*/g, `a=ice-pwd:${value(ours, 'ice-pwd')}`)
      await pc.setRemoteDescription({ type: 'answer', sdp: theirs })
      const trickled = (await patch(response.headers.get('etag') ?? '', `${fragment}a=end-of-candidates\r\n`)).status
      const changed = ufrag !== value(before, 'ice-ufrag') && response.headers.get('etag') !== tag
      results.push({ stale, status: response.status, trickled, changed, ufrag })
    }
    return results
  })
  for (const { stale, status, trickled, changed } of restarted) assert.deepEqual([stale, status, trickled, changed], [412, 200, 204, true])
  const used = () =>
    anna.page.evaluate(async () => {
      const used = []
      for (const { pc } of /** @type {any} */ (window).sessions) {
        const stats = [...(await pc.getStats()).values()]
        const transport = stats.find((one) => one.type === 'transport')
        const pair = stats.find((one) => one.id === transport?.selectedCandidatePairId)
        used.push(stats.find((one) => one.id === pair?.localCandidateId)?.usernameFragment)
      }
      return used
    })
  const wanted = restarted.map(({ ufrag }) => ufrag)
  await until(async () => (await used()).join() === wanted.join(), 10_000, 'the pairs of the new generation')
  await anna.sees('by-whep')
})

/**
 * Plays a member of the second room by WHEP. What arrives is handed to ffmpeg, as RTP, to be decoded and verified.
 * @param {import('node:test').TestContext} t @param {string} userID
 */
async function playByWhep(t, userID) {
  const peer = connection()
  t.after(() => peer.close())
  const sender = await udp()
  t.after(() => sender.close())
  const ports = { video: 0, audio: 0 }
  for (const kind of /** @type {const} */ (['video', 'audio'])) {
    // Two free ports side by side, because ffmpeg takes the next one for RTCP.
    const probe = await udp()
    ports[kind] = probe.address().port
    probe.close()
    peer.addTransceiver(kind, { direction: 'recvonly' })
  }
  const types = { video: 0, audio: 0 }
  /** Asks for a key frame. */ let askForKey = () => {}
  peer.onTrack.subscribe((track) => {
    const kind = /** @type {'audio' | 'video'} */ (track.kind)
    track.onReceiveRtp.subscribe((packet) => {
      types[kind] = packet.header.payloadType
      if (kind === 'video') askForKey = () => peer.getReceivers().find((receiver) => receiver.tracks.includes(track))?.sendRtcpPLI(packet.header.ssrc)
      sender.send(packet.serialize(), ports[kind], '127.0.0.1')
    })
  })
  const session = await negotiate(server, peer, 'whep', await server.ticket(`player-${userID}`, ROOM + 1), { play: userID })
  await until(() => types.video !== 0 && types.audio !== 0, 10_000, 'RTP of both kinds')

  const folder = await mkdtemp(join(tmpdir(), 'roomcast-whep-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const description = join(folder, 'stream.sdp')
  const lines = [
    ...['v=0', 'o=- 0 0 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0'],
    ...[`m=video ${ports.video} RTP/AVP ${types.video}`, `a=rtpmap:${types.video} H264/90000`, `a=fmtp:${types.video} packetization-mode=1`],
    ...[`m=audio ${ports.audio} RTP/AVP ${types.audio}`, `a=rtpmap:${types.audio} opus/48000/2`],
  ]
  await writeFile(description, `${lines.join('\r\n')}\r\n`)
  const player = new Player(['-protocol_whitelist', 'file,udp,rtp', '-flags', 'low_delay', '-i', description])
  t.after(() => player.stop())
  // ffmpeg missed the key frame that came before it listened and cannot ask for one, so this side asks in its place.
  const asking = setInterval(() => askForKey(), 500)
  t.after(() => clearInterval(asking))
  const [pictures] = await Promise.all([player.stamps(10, 20_000), player.tone(1000, 20_000)])
  t.diagnostic(`picture of ${userID} at a WHEP player, age at best ${Math.min(...pictures.map(({ ageMs }) => ageMs))} ms`)
  assert.equal((await session.end()).status, 200)
}
