/**
 * `WebRTCAPI`, as pages of 2018 know it (version 2.6, with what 3.x added where it does not contradict), over a roomcast server. Such
 * a page changes only its script tag:
 *
 *     <script src="https://your-server/sdk/dist/WebRTCAPI.js"></script>
 *
 * The server is the one the script came from; the option `server` names another. Methods take callbacks for success and failure and
 * return promises as well, which never reject when there is a callback. What the original measured for its maker (log upload, quality
 * reports to a server) is left out.
 */

import { checkSystemRequirements, getCameras, getDevices, getMicrophones, isScreenShareSupported } from './devices.js'
import { Room, RoomcastError } from './roomcast.js'

const VERSION = '2.6.0'

/** Code and text of every error that the original lists. */
const ERRORS = /** @type {const} */ ({
  SUCCESS: 0,
  PARAMETER: 10001,
  NOT_SUPPORTED: 10002,
  WEBSOCKET_INIT: 10005,
  ENTER_ROOM: 10006,
  CREATE_PEER: 10007,
  GET_USER_MEDIA: 10008,
  LOCAL_SDP: 10009,
  REMOTE_SDP: 10012,
  ANSWER_SDP: 10013,
  ICE_BROKEN: 10014,
  ICE_CLOSED: 10015,
  NOT_FOUND: 10031,
  NOT_INITIALISED: 10032,
  START_RTC: 10033,
  STOP_RTC: 10034,
  WEBSOCKET_CLOSED: 10035,
  WEBSOCKET_ERROR: 10036,
  AUDIO_SSRC: 10037,
  VIDEO_SSRC: 10038,
  PEER_NOT_FOUND: 10039,
  INIT: 11000,
  TICKET: 70236,
})

/** What `videoType` and `type` say. */
const TYPE = { none: 0, audio: 1, main: 2, aux: 7 }
/** Encoding profiles that the maker's own demo knows by name; an unknown name leaves the choice to the browser. In bits per second. */
const ROLE_BPS = /** @type {Record<string, number>} */ ({ user: 600_000, wp1280: 1_500_000, wp640: 800_000, miniwhite: 400_000, low: 300_000 })
/** Our codes that mean that somebody else decided it. */
const KICKED = [73010, 73011, 73012, 73017]
const TIMED_OUT = [72007, 72008]
const TICKET_REFUSED = (/** @type {number | string} */ code) => typeof code === 'number' && code >= 70000 && code < 72000
const STATS_MS = 2000

/** @typedef {(result?: any) => void} Callback */
/** @typedef {{ errorCode: number, errorMsg: string, extInfo?: unknown }} Failure */

/** The server that this script came from. */
const ORIGIN = new URL(/** @type {HTMLScriptElement | null} */ (document.currentScript)?.src || location.href).origin

class WebRTCAPI {
  /** @type {any} */ #options
  /** @type {Map<string, Set<Callback>>} */ #listeners = new Map()
  /** @type {Room | null} */ #room = null
  #isInitialised = false
  /** @type {MediaStream | null} */ #local = null
  #isPublishing = false
  #role = ''
  /** Users whose streams the page wants, where it decides. @type {Set<string>} */ #wanted = new Set()
  /** What the page was told of. @type {Map<string, { userID: string, stream: string, media: MediaStream }>} */ #shown = new Map()
  /** @type {any} */ #videoDevice = null
  /** @type {any} */ #audioDevice = null
  /** @type {ReturnType<typeof setInterval> | undefined} */ #reporting

  /**
   * @param {any} options  sdkAppId, userId, userSig, and perhaps privateMapKey, closeLocalMedia, audio, video, screen, peerAddNotify, debug, server
   * @param {Callback} [succ]  with it the connection is made at once
   * @param {Callback} [fail]
   */
  constructor(options, succ, fail) {
    const { sdkAppId, sdkAppID, userId, userID, openid, identifier, userSig } = options ?? {}
    this.#options = { audio: true, video: true, ...options, sdkAppId: Number(sdkAppId ?? sdkAppID), userId: String(userId ?? userID ?? openid ?? identifier ?? ''), userSig }
    if (succ || fail) this.connect(succ, fail)
  }

  // ------------------------------------------------------------------------------------------- connection and room

  /** @param {Callback} [succ] @param {Callback} [fail] */
  connect(succ, fail) {
    return this.#do(succ, fail, ERRORS.INIT, async () => {
      const { sdkAppId, userId, userSig } = this.#options
      if (!Number.isInteger(sdkAppId) || !userId || !userSig) throw failure(ERRORS.PARAMETER, 'sdkAppId, userId and userSig are needed')
      if (!(await checkSystemRequirements()).result) throw failure(ERRORS.NOT_SUPPORTED, 'this browser has no WebRTC')
      // The server wants to know of a room soon after connecting, and the page may take its time: this only looks whether it is there.
      const probe = await Room.connect(this.#address()).catch((error) => Promise.reject(failure(ERRORS.WEBSOCKET_INIT, error.message, error)))
      await probe.leave()
      this.#isInitialised = true
      this.#emit('onInitResult', { result: 0, errorCode: 0 })
      return { userId, openId: userId, sdkAppId }
    })
  }

  /** @param {any} options @param {Callback} [succ] @param {Callback} [fail] */
  createRoom(options, succ, fail) {
    return this.#do(succ, fail, ERRORS.ENTER_ROOM, async () => {
      const { roomid, roomId, role = '', privateMapKey = this.#options.privateMapKey } = options ?? {}
      const roomID = roomNumber(roomid ?? roomId)
      if (this.#room) await this.#leave()
      if (!this.#isInitialised) await this.connect()
      this.#role = role
      const room = await Room.connect(this.#address())
      this.#listen(room)
      const { sdkAppId, userId, userSig, peerAddNotify } = this.#options
      try {
        await room.enter({ sdkAppID: sdkAppId, userID: userId, userSig, roomID, privateMapKey, role: role === 'audience' ? 'audience' : 'anchor', autoSubscribe: !peerAddNotify })
      } catch (error) {
        room.leave()
        const { code, message } = RoomcastError.from(error)
        throw failure(TICKET_REFUSED(code) ? ERRORS.TICKET : ERRORS.ENTER_ROOM, message, error)
      }
      this.#room = room
      for (const member of room.members.values()) this.#announce(member)
      this.#reporting = setInterval(() => this.#report(), STATS_MS)
      this.#emit('onCreateRoomResult', { result: 0, roomid: roomID })
      return { roomid: roomID, userId }
    }).then((result) => {
      // 3.x begins to send when it is told to (`appScene`); 2.6 by itself, unless it was told not to.
      if (this.#room && !this.#options.closeLocalMedia && role(options) !== 'audience' && options?.appScene === undefined) this.#sendByItself(options)
      return result
    })
  }

  /** @param {any} options @param {Callback} [succ] @param {Callback} [fail] */
  enterRoom(options, succ, fail) {
    return this.createRoom({ appScene: 'VideoCall', ...options }, succ, fail)
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  quit(succ, fail) {
    return this.#do(succ, fail, ERRORS.WEBSOCKET_ERROR, async () => {
      await this.#leave()
      this.releaseStream()
    })
  }

  // ------------------------------------------------------------------------------------------------------- sending

  /** @param {any} [options]  stream, role; with userId: receive from this user (`peerAddNotify`) @param {Callback} [succ] @param {Callback} [fail] */
  startRTC(options, succ, fail) {
    return this.#do(succ, fail, ERRORS.START_RTC, async () => {
      const room = this.#entered()
      const { stream, userId } = options ?? {}
      if (userId) return this.#receive(userId)
      const media = stream ?? this.#local ?? (await this.#open({}))
      this.#role = role(options) || this.#role
      await room.publish(media, { maxVideoBps: ROLE_BPS[this.#role] })
      this.#isPublishing = true
      if (media !== this.#local) this.#showLocal(media)
      this.#emit('onStartRTCResult', { result: 0 })
    })
  }

  /** @param {any} [_options] @param {Callback} [succ] @param {Callback} [fail] */
  stopRTC(_options, succ, fail) {
    return this.#do(succ, fail, ERRORS.STOP_RTC, async () => {
      await this.#entered().unpublish('main')
      this.#isPublishing = false
    })
  }

  /** @param {{ stream: MediaStream }} options @param {Callback} [succ] @param {Callback} [fail] */
  updateStream(options, succ, fail) {
    return this.#do(succ, fail, ERRORS.START_RTC, async () => {
      if (!(options?.stream instanceof MediaStream)) throw failure(ERRORS.PARAMETER, 'stream must be a MediaStream')
      const room = this.#entered()
      const had = this.#local?.getTracks().map(({ kind }) => kind) ?? []
      const tracks = options.stream.getTracks()
      const isSameKind = this.#isPublishing && had.length === tracks.length && tracks.every(({ kind }) => had.includes(kind))
      if (isSameKind) for (const track of tracks) await room.replaceTrack(track)
      else await room.publish(options.stream, { maxVideoBps: ROLE_BPS[this.#role] })
      this.#isPublishing = true
      this.#showLocal(options.stream)
    })
  }

  /**
   * Opens devices (2.5 and later); without arguments it is what is sent now.
   * @param {any} [options] @param {Callback} [succ] @param {Callback} [fail]
   */
  getLocalStream(options, succ, fail) {
    if (!options && !succ) return this.#local
    return this.#do(succ, fail, ERRORS.GET_USER_MEDIA, async () => ({ stream: await this.#open(options ?? {}) }))
  }

  getLocalMediaStream() {
    return this.#local
  }

  getLocalMediaStatus() {
    const isOn = (/** @type {string} */ kind) => this.#local?.getTracks().some((track) => track.kind === kind && track.enabled && track.readyState === 'live') ?? false
    return { audio: isOn('audio'), video: isOn('video') }
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  openAudio(succ, fail) {
    return this.#mute('audio', false, succ, fail)
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  closeAudio(succ, fail) {
    return this.#mute('audio', true, succ, fail)
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  openVideo(succ, fail) {
    return this.#mute('video', false, succ, fail)
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  closeVideo(succ, fail) {
    return this.#mute('video', true, succ, fail)
  }

  /** Another encoding profile, or another role. @param {string} name @param {Callback} [succ] @param {Callback} [fail] */
  changeSpearRole(name, succ, fail) {
    return this.#do(succ, fail, ERRORS.START_RTC, async () => {
      const room = this.#entered()
      this.#role = name
      if (name === 'anchor' || name === 'audience') {
        const { userSig, privateMapKey } = this.#options
        await room.switchRole(name, { userSig, privateMapKey })
        if (name === 'audience') this.#isPublishing = false
      } else if (this.#isPublishing && this.#local) await room.publish(this.#local, { maxVideoBps: ROLE_BPS[name] })
    })
  }

  // ------------------------------------------------------------------------------------------------------- devices

  /** @param {Callback} [succ] @param {Callback} [fail] */
  getDevices(succ, fail) {
    return this.#do(succ, fail, ERRORS.NOT_SUPPORTED, () => getDevices())
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  getVideoDevices(succ, fail) {
    return this.#do(succ, fail, ERRORS.NOT_SUPPORTED, getCameras)
  }

  /** @param {Callback} [succ] @param {Callback} [fail] */
  getAudioDevices(succ, fail) {
    return this.#do(succ, fail, ERRORS.NOT_SUPPORTED, getMicrophones)
  }

  /** @param {any} device @param {Callback} [succ] @param {Callback} [fail] */
  chooseVideoDevice(device, succ, fail) {
    this.#videoDevice = device
    return this.#switch('video', succ, fail)
  }

  /** @param {any} device @param {Callback} [succ] @param {Callback} [fail] */
  chooseAudioDevice(device, succ, fail) {
    this.#audioDevice = device
    return this.#switch('audio', succ, fail)
  }

  /** @param {MediaStreamConstraints} constraints @param {Callback} [succ] @param {Callback} [fail] */
  getUserMedia(constraints, succ, fail) {
    return this.#do(succ, fail, ERRORS.GET_USER_MEDIA, () => openMedia(() => navigator.mediaDevices.getUserMedia(constraints)))
  }

  /** Switches devices off. @param {MediaStream} [stream] */
  releaseStream(stream = this.#local ?? undefined) {
    for (const track of stream?.getTracks() ?? []) track.stop()
    if (stream === this.#local) this.#local = null
  }

  /** How loud a stream is: `onprogress({ volume, status })`, 0 to 100, until `stop`. @param {{ stream: MediaStream, onprogress: Callback }} options */
  SoundMeter({ stream, onprogress }) {
    const context = new AudioContext()
    const analyser = new AnalyserNode(context, { fftSize: 1024 })
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(analyser)
    const samples = new Float32Array(analyser.fftSize)
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples)
      const level = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length)
      onprogress({ volume: Math.round(Math.min(1, 2 * level) * 100), status: 'recording' })
    }, 100)
    return {
      stop() {
        clearInterval(timer)
        context.close()
      },
    }
  }

  // ------------------------------------------------------------------------------------------------- what else

  getUserId() {
    return this.#options.userId
  }

  getOpenId() {
    return this.#options.userId
  }

  getErrorCode() {
    return { ...ERRORS }
  }

  /** Figures of one user's media, or of what we send; with `interval` (ms) again and again. @param {{ userId?: string, interval?: number }} [options] @param {Callback} [succ] @param {Callback} [fail] */
  getStats({ userId, interval } = {}, succ, fail) {
    const read = () =>
      this.#do(succ, fail, ERRORS.PEER_NOT_FOUND, async () => {
        const { tracks, roundTripMs, lostShare } = await this.#entered().figures()
        const own = tracks.filter((track) => track.userID === (userId ?? this.#options.userId))
        if (userId && own.length === 0) throw failure(ERRORS.PEER_NOT_FOUND, `nothing comes from ${userId}`)
        return { userId: userId ?? this.#options.userId, rtt: roundTripMs, lost: lostShare, tracks: own }
      })
    if (!interval) return read()
    const timer = setInterval(() => (this.#room ? read() : clearInterval(timer)), interval)
  }

  /** How long the server takes to answer, in milliseconds. @param {Callback} [succ] @param {Callback} [fail] */
  ping(succ, fail) {
    return this.#do(succ, fail, ERRORS.NOT_INITIALISED, async () => this.#entered().roundTripMs ?? (await this.#entered().figures()).roundTripMs)
  }

  /** @param {string} event @param {Callback} listener */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners.add(listener))
    return this
  }

  /** @param {string} event @param {Callback} [listener]  all of them if left out */
  off(event, listener) {
    if (listener) this.#listeners.get(event)?.delete(listener)
    else this.#listeners.delete(event)
    return this
  }

  // ------------------------------------------------------------------------------------------------------- inside

  #address() {
    const { server = ORIGIN } = this.#options
    return new URL('/signal', server.replace(/^ws/, 'http')).href.replace(/^http/, 'ws')
  }

  #entered() {
    if (!this.#room) throw failure(ERRORS.NOT_INITIALISED, 'call createRoom first')
    return this.#room
  }

  /** @param {Room} room */
  #listen(room) {
    room.on('member-entered', ({ member }) => this.#announce(member))
    room.on('member-left', ({ member }) => !this.#hasShown(member.userID) && this.#emit('onRemoteStreamRemove', { userId: member.userID, openId: member.userID, videoId: '' }))
    room.on('stream-added', ({ userID }) => this.#options.peerAddNotify && (this.#wanted.has(userID) ? this.#receive(userID) : this.#announcePeer(userID)))
    room.on('media', ({ userID, stream, mediaStream }) => this.#show(userID, stream, mediaStream))
    room.on('stream-removed', ({ userID, stream }) => this.#remove(userID, stream.stream))
    room.on('muted', ({ userID, kind, muted }) => userID !== room.userID && this.#emit(`on${muted ? 'Mute' : 'Unmute'}${kind === 'audio' ? 'Audio' : 'Video'}`, { userId: userID }))
    room.on('connection', ({ state }) => this.#emit('onWebSocketNotify', { errorCode: state === 'connected' ? 0 : ERRORS.WEBSOCKET_ERROR, errorMsg: state }))
    room.on('transport', ({ direction, state, reason }) => {
      if (state === 'connected') this.#emit('onIceConnectionBuild', { direction })
      if (state === 'closed' && this.#room) this.#emit('onErrorNotify', failure(ERRORS.ICE_BROKEN, `media ${direction} is broken: ${reason ?? ''}`))
    })
    room.on('error', ({ error }) => this.#emit('onErrorNotify', failure(ERRORS.REMOTE_SDP, error.message, error)))
    room.on('closed', (reason) => this.#onClosed(room, reason))
  }

  /** @param {Room} room @param {{ code: number | string, message: string, advice: string }} reason */
  #onClosed(room, { code, message, advice }) {
    if (this.#room !== room) return
    for (const { userID, stream } of [...this.#shown.values()]) this.#remove(userID, stream)
    clearInterval(this.#reporting)
    this.#room = null
    this.#isPublishing = false
    if (code === 0) return
    const said = { errorCode: ERRORS.WEBSOCKET_CLOSED, errorMsg: message, extInfo: { code, advice } }
    if (KICKED.includes(Number(code))) this.#emit('onKickout', said)
    else if (TIMED_OUT.includes(Number(code))) this.#emit('onRelayTimeout', said)
    else this.#emit('onWebSocketClose', said)
  }

  async #leave() {
    const room = this.#room
    await room?.leave()
  }

  /** Everybody who comes is told of, whether he sends or not. @param {import('./roomcast.js').Member} member */
  #announce({ userID, streams }) {
    if (streams.length === 0) this.#emit('onRemoteStreamUpdate', { userId: userID, openId: userID, stream: null, videoId: '', type: TYPE.none, videoType: TYPE.none })
    else if (this.#options.peerAddNotify) this.#announcePeer(userID)
  }

  /** @param {string} userID */
  #announcePeer(userID) {
    this.#emit('onPeerConnectionAdd', { userId: userID, openId: userID, tinyid: tinyid(userID) })
  }

  /** @param {string} userID */
  async #receive(userID) {
    const room = this.#entered()
    this.#wanted.add(userID)
    const streams = room.members.get(userID)?.streams ?? []
    if (streams.length > 0) await room.subscribe(streams.map(({ stream }) => ({ userID, stream })))
  }

  /** @param {string} userID @param {string} stream @param {MediaStream} media */
  #show(userID, stream, media) {
    if (media.getTracks().length === 0) return
    const key = `${stream}/${userID}`
    const isNew = !this.#shown.has(key)
    this.#shown.set(key, { userID, stream, media })
    const type = stream === 'aux' ? TYPE.aux : media.getVideoTracks().length > 0 ? TYPE.main : TYPE.audio
    const about = { userId: userID, openId: userID, stream: media, videoId: `${tinyid(userID)}_${media.id}`, type, videoType: type, ssrcState: type }
    this.#emit('onRemoteStreamUpdate', about)
    this.#emit('onRemoteStreamStateChange', about)
    this.#emit('onStreamNotify', { isLocal: false, event: isNew ? 'added' : 'updated', ...about })
  }

  /** @param {string} userID @param {string} stream */
  #remove(userID, stream) {
    const key = `${stream}/${userID}`
    const shown = this.#shown.get(key)
    if (!shown) return
    this.#shown.delete(key)
    const about = { userId: userID, openId: userID, videoId: `${tinyid(userID)}_${shown.media.id}` }
    this.#emit('onRemoteStreamRemove', about)
    this.#emit('onStreamNotify', { isLocal: false, event: 'removed', stream: null, type: stream === 'aux' ? TYPE.aux : TYPE.main, ...about })
  }

  /** @param {string} userID */
  #hasShown(userID) {
    return [...this.#shown.values()].some((shown) => shown.userID === userID)
  }

  /** @param {MediaStream} media */
  #showLocal(media) {
    this.#local = media
    this.#emit('onLocalStreamAdd', { stream: media })
    this.#emit('onStreamNotify', { isLocal: true, event: 'added', stream: media, userId: this.#options.userId, videoId: media.id, type: TYPE.main })
  }

  /** @param {any} options */
  async #sendByItself(options) {
    try {
      await this.startRTC({ stream: await this.#open({}), role: role(options) })
    } catch (error) {
      this.#emit('onErrorNotify', isFailure(error) ? error : failure(ERRORS.START_RTC, String(error), error))
    }
  }

  /** @param {any} options @returns {Promise<MediaStream>} */
  #open({ audio = this.#options.audio, video = this.#options.video, screen = this.#options.screen, attributes = {}, videoDevice = this.#videoDevice, audioDevice = this.#audioDevice, needRetry = true }) {
    const { width, height, frameRate } = attributes
    const deviceOf = (/** @type {any} */ device) => (device?.deviceId ? { deviceId: { exact: device.deviceId } } : (device ?? {}))
    const devices = navigator.mediaDevices
    return openMedia(async () => {
      if (screen) return devices.getDisplayMedia({ video: true, audio: Boolean(audio) })
      const wanted = {
        audio: audio && (audioDevice ? deviceOf(audioDevice) : true),
        video: video && { width: { ideal: width ?? 640 }, height: { ideal: height ?? 480 }, frameRate: { ideal: frameRate ?? 20 }, ...deviceOf(videoDevice) },
      }
      try {
        return await devices.getUserMedia(wanted)
      } catch (error) {
        if (!needRetry || /** @type {DOMException} */ (error).name === 'NotAllowedError') throw error
        return devices.getUserMedia({ audio: Boolean(audio), video: Boolean(video) })
      }
    })
  }

  /** @param {'audio' | 'video'} kind @param {boolean} muted @param {Callback} [succ] @param {Callback} [fail] */
  #mute(kind, muted, succ, fail) {
    return this.#do(succ, fail, ERRORS.NOT_FOUND, async () => {
      const track = this.#local?.getTracks().find((one) => one.kind === kind)
      if (!track) throw failure(ERRORS.NOT_FOUND, `there is no local ${kind}`)
      track.enabled = !muted
      if (this.#room && this.#isPublishing) await this.#room.mute('main', kind, muted)
    })
  }

  /** @param {'audio' | 'video'} kind @param {Callback} [succ] @param {Callback} [fail] */
  #switch(kind, succ, fail) {
    return this.#do(succ, fail, ERRORS.GET_USER_MEDIA, async () => {
      const local = this.#local
      const before = local?.getTracks().find((track) => track.kind === kind)
      if (!local || !before) return // the next stream that is opened uses it
      const [track] = (await this.#open({ audio: kind === 'audio', video: kind === 'video', screen: false })).getTracks()
      track.enabled = before.enabled
      if (this.#isPublishing) await this.#room?.replaceTrack(track)
      before.stop()
      local.removeTrack(before)
      local.addTrack(track)
      this.#showLocal(local)
    })
  }

  async #report() {
    const figures = await this.#room?.figures().catch(() => null)
    if (figures) this.#emit('onQualityReport', { rtt: figures.roundTripMs, lost: figures.lostShare, uplink: figures.sendBps, downlink: figures.receiveBps })
  }

  /** @param {string} event @param {unknown} data */
  #emit(event, data) {
    if (this.#options.debug?.log) console.debug('WebRTCAPI', event, data)
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(data)
      } catch (error) {
        // A mistake of the page must not keep its other listeners from hearing.
        console.error(error)
      }
    }
  }

  /**
   * Does it, and tells by whichever way the page wants to hear.
   * @template T @param {Callback | undefined} succ @param {Callback | undefined} fail @param {number} code  of failures that have none
   * @param {() => Promise<T> | T} work @returns {Promise<T | undefined>}
   */
  async #do(succ, fail, code, work) {
    let result
    try {
      result = await work()
    } catch (error) {
      const { message } = RoomcastError.from(error)
      const failed = isFailure(error) ? error : failure(code, message, error)
      if (!fail && !succ) throw failed
      if (this.#options.debug?.log) console.debug('WebRTCAPI', failed)
      fail?.(failed)
      return undefined
    }
    succ?.(result)
    return result
  }

  /** @param {any} options  may be left out @param {Callback} [callback] */
  static detectRTC(options, callback) {
    const answer = typeof options === 'function' ? options : callback
    return checkSystemRequirements().then(({ result, detail }) => {
      const info = { support: result, h264Support: detail.isH264EncodeSupported, isTBS: false, isTBSValid: false, TBSversion: '', screenshare: isScreenShareSupported() }
      answer?.(info)
      return info
    })
  }

  static version = VERSION
  static fn = { detectRTC: WebRTCAPI.detectRTC, getErrorCode: () => ({ ...ERRORS }) }

  /** @param {any} options @param {Callback} [callback] */
  detectRTC(options, callback) {
    return WebRTCAPI.detectRTC(options, callback)
  }
}

/** @param {number} errorCode @param {string} errorMsg @param {unknown} [cause] @returns {Failure} */
function failure(errorCode, errorMsg, cause) {
  const { code, advice } = cause instanceof RoomcastError ? cause : { code: undefined, advice: undefined }
  return { errorCode, errorMsg, extInfo: { code, advice } }
}

/** @param {unknown} thing @returns {thing is Failure} */
const isFailure = (thing) => typeof thing === 'object' && thing !== null && 'errorCode' in thing

/** @param {() => Promise<MediaStream>} open */
async function openMedia(open) {
  if (!navigator.mediaDevices) throw failure(ERRORS.GET_USER_MEDIA, 'browsers open cameras only on https and on localhost')
  try {
    return await open()
  } catch (error) {
    const { name, message } = /** @type {DOMException} */ (error)
    throw { ...failure(ERRORS.GET_USER_MEDIA, `${name}: ${message}`), extInfo: { code: name } }
  }
}

/** @param {any} options @returns {string} */
const role = (options) => options?.role ?? ''

/** @param {unknown} roomid @returns {number} */
function roomNumber(roomid) {
  const number = Number(roomid)
  if (Number.isInteger(number) && number >= 1 && number < 0xffffffff) return number
  throw failure(ERRORS.PARAMETER, 'roomid must be a number from 1 to 4294967294')
}

/** The original's servers number their users; a number that is always the same for a name will do. @param {string} userID */
function tinyid(userID) {
  let hash = 0xcbf29ce484222325n
  for (const byte of new TextEncoder().encode(userID)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString()
}

/** @type {any} */ (globalThis).WebRTCAPI = WebRTCAPI
