/**
 * Programs inside the namespaces that `run.sh` makes. The tests run in rc-server, but Firefox's in rc-firefox, since it is driven
 * over its own loopback.
 */

import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { Server } from '../chrome/harness.mjs'

/** The server's address, wherever it is reached from. */
const ADDRESS = '10.79.0.1'
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** A server that all namespaces reach. */
export function startServer() {
  binary ??= process.env.ROOMCAST_BIN ?? join(ROOT, 'target/release/roomcast')
  process.env.ROOMCAST_BIN = wrapped('rc-server', binary)
  return Server.start({ 'http.listen': `${ADDRESS}:0` })
}
/** @type {string | undefined} */
let binary

/** Runs `ip`, `nft` or whatever in a namespace. @param {string} space @param {...string} command */
export const inside = (space, ...command) => execFileSync('ip', ['netns', 'exec', space, ...command])

/** The path of a program that runs another inside a namespace, for those who want a path. @param {string} space @param {string} program */
export function wrapped(space, program) {
  const path = join(mkdtempSync(join(tmpdir(), 'roomcast-net-')), 'program')
  writeFileSync(path, `#!/bin/sh\nexec ip netns exec ${space} ${program} "$@"\n`)
  chmodSync(path, 0o755)
  return path
}

/** Joins rc-server and rc-far by a wire that impairs; the answer changes it, or takes it away. */
export async function wire() {
  const program = spawn(join(ROOT, 'tests/tools/impair'), ['rc-server', '10.79.2.1', 'rc-far', '10.79.2.2'], { stdio: ['pipe', 'pipe', 'inherit'] })
  await new Promise((resolve, reject) => {
    program.stdout.once('data', resolve)
    program.once('exit', reject)
  })
  inside('rc-far', 'ip', 'route', 'add', 'default', 'dev', 'wire0')
  return {
    /** @param {'there' | 'back'} direction @param {string} settings */
    set: (direction, settings) => program.stdin.write(`${direction} ${settings}\n`),
    end: () =>
      new Promise((resolve) => {
        let said = ''
        program.stdout.on('data', (text) => (said += text))
        program.once('exit', () => resolve(said))
        program.kill('SIGTERM')
      }),
  }
}

/**
 * Runs in a page: publishes a moving picture by WHIP, or plays by WHEP, and notes when packets and frames came.
 * Given to pages as text, so it stands alone.
 */
export function pageTools() {
  const headers = (ticket) => ({ Authorization: `Bearer ${ticket.userSig}`, 'Content-Type': 'application/sdp' })
  const url = (kind, ticket, extra = '') => `/${kind}/${ticket.roomID}/${ticket.userID}?sdkappid=${ticket.sdkAppID}&privatemapkey=${ticket.privateMapKey}${extra}`
  async function agree(connection, kind, ticket, extra) {
    await connection.setLocalDescription()
    const response = await fetch(url(kind, ticket, extra), { method: 'POST', headers: headers(ticket), body: connection.localDescription.sdp })
    const sdp = await response.text()
    if (response.status !== 201) throw new Error(sdp)
    await connection.setRemoteDescription({ type: 'answer', sdp })
  }
  const tools = {
    up: null,
    down: null,
    /** When the count of received packets last grew, and the longest time that it did not. */
    watch: { packets: 0, at: 0, longest: 0 },
    async publish(ticket) {
      const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 })
      const context = canvas.getContext('2d')
      let n = 0
      setInterval(() => {
        context.fillStyle = `hsl(${(n += 7) % 360} 60% 45%)`
        context.fillRect((n * 3) % 320, (n * 5) % 240, 60, 60)
      }, 50)
      tools.up = new RTCPeerConnection()
      tools.up.addTransceiver(canvas.captureStream(20).getVideoTracks()[0], { direction: 'sendonly' })
      await agree(tools.up, 'whip', ticket)
    },
    async play(ticket, userID) {
      tools.down = new RTCPeerConnection()
      tools.down.ontrack = ({ streams, track }) => {
        if (track.kind !== 'video') return
        const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true, playsInline: true })
        video.srcObject = streams[0] ?? new MediaStream([track])
        document.body.append(video)
      }
      tools.down.addTransceiver('audio', { direction: 'recvonly' })
      tools.down.addTransceiver('video', { direction: 'recvonly' })
      await agree(tools.down, 'whep', ticket, `&play=${userID}`)
      setInterval(async () => {
        const { packetsReceived } = await tools.video()
        const now = performance.now()
        if (packetsReceived > tools.watch.packets) tools.watch = { packets: packetsReceived, at: now, longest: Math.max(tools.watch.longest, tools.watch.at && now - tools.watch.at) }
      }, 20)
    },
    async video(connection = tools.down, type = 'inbound-rtp') {
      const none = { packetsReceived: 0, framesReceived: 0, framesDecoded: 0, packetsLost: 0 }
      if (!connection) return none
      const stats = [...(await connection.getStats()).values()].find((one) => one.type === type && one.kind === 'video')
      return stats ? JSON.parse(JSON.stringify(stats)) : none
    },
  }
  window.tools = tools
}
