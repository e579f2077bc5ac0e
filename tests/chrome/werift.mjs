/** A WebRTC stack that is no browser and shares no code with one: werift. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'

import { RTCPeerConnection, useH264, useNACK, useOPUS, usePLI, useSdesMid } from 'werift'

/** One peer connection of the independent stack. It knows no loopback addresses unless told of them. */
export const connection = () =>
  new RTCPeerConnection({
    codecs: {
      video: [useH264({ rtcpFeedback: [useNACK(), usePLI()], parameters: 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f' })],
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
