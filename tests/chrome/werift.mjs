/** A WebRTC stack that is no browser and shares no code with one: werift. */

import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, useH264, useNACK, useOPUS, usePLI, useSdesMid } from 'werift'

import { sendRtp } from '../tools/media-tools.mjs'
import { until } from './harness.mjs'

const rtcpFeedback = [useNACK(), usePLI()]
const VIDEO = {
  H264: useH264({ rtcpFeedback, parameters: 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f' }),
  H265: new RTCRtpCodecParameters({ mimeType: 'video/H265', clockRate: 90_000, rtcpFeedback, parameters: 'level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST' }),
}

/** One peer connection of the independent stack. It knows no loopback addresses unless told of them. @param {keyof typeof VIDEO} [codec] */
export const connection = (codec = 'H264') =>
  new RTCPeerConnection({
    codecs: {
      video: [VIDEO[codec]],
      audio: [useOPUS()],
    },
    headerExtensions: { video: [useSdesMid()], audio: [useSdesMid()] },
    iceServers: [],
    iceAdditionalHostAddresses: ['127.0.0.1'],
    bundlePolicy: 'max-bundle',
  })

/** A UDP socket on a free port of this machine. */
export async function udp() {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return socket
}

/**
 * Offers by HTTP, as RFC 9725 says, and takes the answer.
 * @param {import('./harness.mjs').Server} server @param {import('werift').RTCPeerConnection} peer @param {'whip' | 'whep'} protocol @param {any} ticket @param {Record<string, string>} [query]
 * @returns {Promise<{ end: () => Promise<Response> }>}
 */
export async function negotiate(server, peer, protocol, { sdkAppID, roomID, userID, userSig, privateMapKey }, query = {}) {
  await peer.setLocalDescription(await peer.createOffer())
  await until(() => peer.iceGatheringState === 'complete', 5000, 'the candidates')
  const parameters = new URLSearchParams({ sdkappid: sdkAppID, ...(privateMapKey && { privatemapkey: privateMapKey }), ...query })
  const url = `http://${server.http}/${protocol}/${roomID}/${userID}?${parameters}`
  const headers = { Authorization: `Bearer ${userSig}` }
  const response = await fetch(url, { method: 'POST', headers: { ...headers, 'Content-Type': 'application/sdp' }, body: peer.localDescription?.sdp })
  const answer = await response.text()
  assert.equal(response.status, 201, answer)
  assert.match(response.headers.get('content-type') ?? '', /^application\/sdp/)
  const session = new URL(response.headers.get('location') ?? assert.fail('no Location'), url)
  await peer.setRemoteDescription({ type: 'answer', sdp: answer })
  return { end: () => fetch(session, { method: 'DELETE', headers }) }
}

/**
 * Publishes stamped pictures and a tone in Opus by WHIP.
 * @param {import('node:test').TestContext} t @param {import('./harness.mjs').Server} server @param {any} ticket
 * @param {Parameters<typeof sendRtp>[1]} source @param {keyof typeof VIDEO} [codec]
 */
export async function publish(t, server, ticket, source, codec = 'H264') {
  const peer = connection(codec)
  t.after(() => peer.close())
  const [videoSocket, audioSocket] = [await udp(), await udp()]
  for (const [socket, kind] of /** @type {const} */ ([[videoSocket, 'video'], [audioSocket, 'audio']])) {
    const track = new MediaStreamTrack({ kind })
    peer.addTransceiver(track, { direction: 'sendonly' })
    socket.on('message', (packet) => peer.connectionState === 'connected' && track.writeRtp(packet))
    t.after(() => socket.close())
  }
  const session = await negotiate(server, peer, 'whip', ticket)
  await until(() => peer.connectionState === 'connected', 10_000, 'the WHIP connection')
  const sender = sendRtp({ videoPort: videoSocket.address().port, audioPort: audioSocket.address().port }, source, codec)
  t.after(() => sender.kill())
  return session
}
