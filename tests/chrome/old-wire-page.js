/**
 * A client of the wire that `WebRTCAPI` 2.6 and 3 speak, written for the tests from what is known of that wire: one WebSocket to the
 * root path, a connection for what is sent, and one for each peer. 2.6 offers to receive a peer and takes the answer as a
 * provisional one; 3 answers the server's offer. Driven through `window.old`.
 */

import { Ear, Eye } from '/test/chrome/senses.js'
import { videoOf } from '/test/chrome/page.js'

const CMD = { SDP: 0x02, SENT_AWAY: 0x08, CLOSE_PEER_ACK: 0x0a, PEER_JOIN: 0x10, CREATE_PEER_RESULT: 0x11, PEER_LEAVE: 0x12, READY: 0x13, JOINED: 0x14, CONSTRAINTS: 0x20, NEW_SDP: 0x30, REFUSED: 0x7000 }
/** Stream labels by which such clients know the camera and the screen. */
const LABELS = { '5Y2wZK8nANNAoVw6dSAHVjNxrD1ObBM2kBPV': 'main', '224d130c-7b5c-415b-aaa2-79c2eb5a6df2': 'aux' }

class OldClient {
  /** Everything that the server said. @type {{ cmd: number, content: any, srctinyid?: any }[]} */ said = []
  /** Connections by the peer's number; 0 is what is sent. @type {Map<string, RTCPeerConnection>} */ connections = new Map()
  /** userIDs by number. @type {Map<string, string>} */ users = new Map()
  /** @type {Map<string, Eye>} */ eyes = new Map()
  /** @type {Map<string, Ear>} */ ears = new Map()
  /** The first offer of a peer, which is kept for ever. @type {Map<string, RTCSessionDescriptionInit>} */ offers = new Map()
  /** What the marks of the SSRCs say. @type {Record<string, number[]>} */ marks = {}
  audio = new AudioContext()
  /** @type {{ cmd: number, found: (message: any) => void }[]} */ #waiting = []

  /** @param {any} ticket @param {{ proxy: string, version?: string, fields?: object, closeLocalMedia?: boolean }} how */
  async join({ sdkAppID, userID, userSig, roomID, privateMapKey }, { proxy, version = '0', fields = {} }) {
    Object.assign(this, { version: Number(version), userID, url: `${proxy}?${new URLSearchParams({ sdkAppid: sdkAppID, identifier: userID, privMapEncrypt: privateMapKey ?? '', userSig })}` })
    const { content } = await this.#open(this.url)
    Object.assign(this, { tinyid: content.tinyid, openid: content.openid, stun: `stun:${content.relayip}:${content.stunport}` })
    const data = { openid: content.openid, tinyid: content.tinyid, roomid: String(roomID), sdkAppID: String(sdkAppID), socketid: content.socketid, userSig, privMapEncrypt: privateMapKey ?? null, relayip: content.innerip, role: 'user', jsSdkVersion: version, closeLocalMedia: true, ...fields }
    const joined = await this.ask('on_create_room', data, CMD.JOINED)
    if (joined.content.ret !== 0) throw new Error(`${joined.content.ret} ${joined.content.error}`)
    this.send('init_end_report', { socketid: content.socketid })
  }

  /** @param {string} url */
  #open(url) {
    this.socket = new WebSocket(url)
    this.closed = new Promise((resolve) => this.socket.addEventListener('close', ({ code }) => resolve(code)))
    this.socket.addEventListener('message', ({ data }) => this.#hear(JSON.parse(data)))
    return this.#next(CMD.READY)
  }

  /** Breaks the channel and comes back, as after a proxy's restart. */
  async reconnect() {
    this.socket.close(4010)
    await this.closed
    const { content } = await this.#open(`${this.url}&iip=0&dp=0&oip=0&sp=0&rc=1`)
    this.send('on_rebuild_session', { socketid: content.socketid, sids: [...this.connections.keys()], remotesdp: {} })
    return content.rc
  }

  send(tag, data, srctinyid) {
    const about = srctinyid === undefined ? {} : { srctinyid }
    this.socket.send(JSON.stringify({ tag_key: tag, data, openid: this.openid, tinyid: this.tinyid, version: '2.6', ua: navigator.userAgent, sessionid: 0, ...about }))
  }

  /** Sends, and waits for the next message of this kind. */
  ask(tag, data, cmd, srctinyid) {
    const answer = this.#next(cmd)
    this.send(tag, data, srctinyid)
    return answer
  }

  #next(cmd) {
    return new Promise((found) => this.#waiting.push({ cmd, found }))
  }

  /** @param {MediaStream} stream */
  async publish(stream) {
    this.local = stream
    const connection = this.#connection('0')
    for (const track of stream.getTracks()) connection.addTrack(track, stream)
    await connection.setLocalDescription(await connection.createOffer({ offerToReceiveAudio: true, offerToReceiveVideo: true }))
    const answer = await this.ask('on_peer_sdp', connection.localDescription, CMD.SDP, 0)
    await connection.setRemoteDescription(answer.content)
  }

  /** Sends the changed stream over the connection that there is. */
  async update() {
    const connection = this.connections.get('0')
    await connection.setLocalDescription(await connection.createOffer())
    const answer = await this.ask('on_update_peer_sdp', connection.localDescription, CMD.SDP, 0)
    await connection.setRemoteDescription(answer.content)
  }

  async unpublish() {
    const { content } = await this.ask('on_close_peer', '', CMD.CLOSE_PEER_ACK)
    if (!content.ret) throw new Error('STOP_RTC_FAILED')
    this.#close('0')
  }

  /** Says that a medium is opened or closed: 1 and 2 video, 3 and 4 audio. @param {number} mediatype */
  change(mediatype) {
    for (const track of mediatype < 3 ? this.local.getVideoTracks() : this.local.getAudioTracks()) track.enabled = mediatype % 2 === 1
    this.send('on_media_change', { mediatype, device: mediatype < 3 ? 'video' : 'audio', switch: mediatype % 2 === 1 })
  }

  sees(userID, kind = 'main') {
    return this.eyes.get(`${kind}/${userID}`)?.read() ?? null
  }

  hears(userID, frequencyHz, kind = 'main') {
    return this.ears.get(`${kind}/${userID}`)?.share(frequencyHz) ?? 0
  }

  /** Closes the connections to somebody by itself, which the server is not told, and offers anew. @param {string} userID */
  async restart(userID) {
    for (const [number, user] of this.users) {
      if (user !== userID) continue
      this.#close(number)
      for (const kind of ['main', 'aux']) this.eyes.delete(`${kind}/${userID}`), this.ears.delete(`${kind}/${userID}`)
      await this.#offer(number)
    }
  }

  #connection(number) {
    // As the original does; a browser that cannot read the address does not make a connection at all.
    const connection = new RTCPeerConnection({ iceServers: [{ urls: this.stun }], bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' })
    this.connections.set(number, connection)
    connection.addEventListener('track', ({ track, streams: [stream] }) => {
      if (number === '0' || !stream) return
      const key = `${LABELS[stream.id] ?? stream.id}/${this.users.get(number)}`
      const video = videoOf(stream)
      if (track.kind === 'video') this.eyes.set(key, new Eye(video))
      else this.ears.set(key, new Ear(new MediaStreamAudioSourceNode(this.audio, { mediaStream: new MediaStream([track]) })))
    })
    return connection
  }

  async #offer(number) {
    const connection = this.#connection(number)
    await connection.setLocalDescription(await connection.createOffer({ offerToReceiveAudio: true, offerToReceiveVideo: true }))
    this.send('on_peer_sdp', connection.localDescription, number)
  }

  #close(number) {
    this.connections.get(number)?.close()
    this.connections.delete(number)
  }

  async #hear(message) {
    this.said.push(message)
    const { cmd, content, srctinyid } = message
    const index = this.#waiting.findIndex((one) => one.cmd === cmd && (cmd !== CMD.SDP || srctinyid === 0))
    if (index >= 0) return this.#waiting.splice(index, 1)[0].found(message)
    if (cmd === CMD.PEER_JOIN) {
      this.users.set(content.srctinyid, content.srcopenid)
      if (this.version < 1001) return this.#offer(content.srctinyid)
      // A connection that there is already is forgotten, not closed.
      if (!this.offers.has(content.srctinyid)) this.offers.set(content.srctinyid, content.remoteoffer)
      const connection = this.#connection(content.srctinyid)
      await connection.setRemoteDescription(this.offers.get(content.srctinyid))
      const answer = await connection.createAnswer()
      await connection.setLocalDescription(answer)
      this.send('on_peer_sdp', answer, content.srctinyid)
    } else if (cmd === CMD.SDP) {
      const connection = this.connections.get(srctinyid)
      const marks = content.sdp.split('\r\n').filter((line) => /^a=ssrc:\d+ cname/.test(line)).map((line) => (Number(line.slice(7).split(' ')[0]) >> 16) & 0xff)
      this.marks[this.users.get(srctinyid)] = marks.slice(0, 2)
      // Never the final one, so that a later one can take its place.
      await connection.setRemoteDescription({ type: 'pranswer', sdp: content.sdp })
    } else if (cmd === CMD.NEW_SDP) {
      if (this.connections.has(content.srctinyid)) await this.connections.get(content.srctinyid).setRemoteDescription(content.newSdp)
      else this.offers.set(content.srctinyid, content.newSdp)
    } else if (cmd === CMD.PEER_LEAVE) {
      this.#close(content.srctinyid)
    }
  }
}

window.old = new OldClient()
window.OldClient = OldClient
