/**
 * A phone in a page, for tests: glass-easel runs a mini-program's component, and here is what a phone gives it: sockets, a live-pusher
 * (the test starts an ffmpeg for it) and live-players (mpegts.js in a video, of which stamps and tone are read). On `window.easel`.
 */

import * as glassEasel from 'glass-easel'
import { MiniProgramEnv } from 'glass-easel-miniprogram-adapter'

import { Ear, Eye } from '/test/chrome/senses.js'

/** How often a player asks again for a stream that ended, and how long it waits before, in milliseconds: as the phone's does. */
const RETRIES = 3
const RETRY_MS = 700

const easel = {
  /** @type {any} */ room: null,
  /** What the component raised. @type {any[]} */ events: [],
  /** The live-players, by whose stream they play. @type {Map<string, { eye: Eye, ear: Ear }>} */ players: new Map(),
  /** @type {WebSocket[]} */ sockets: [],
  audio: new AudioContext(),
  release: () => {},

  sees: (/** @type {string} */ userID) => easel.players.get(userID)?.eye.read() ?? null,
  hears: (/** @type {string} */ userID, /** @type {number} */ hz) => easel.players.get(userID)?.ear.share(hz) ?? 0,

  /** @param {{ templates: string, modules: Record<string, string>, components: any[] }} program @param {string} path @param {object} properties */
  async place(program, path, properties) {
    await easel.audio.resume()
    globalThis.mpegts.LoggingControl.enableAll = false
    document.body.replaceChildren()
    const env = new MiniProgramEnv()
    const space = env.createCodeSpace('', true)
    const tags = env.getGlobalCodeSpace().getComponentSpace()
    for (const [name, definition] of Object.entries({ 'live-player': livePlayer(tags), 'live-pusher': livePusher(tags) })) space.getComponentSpace().setGlobalUsingComponent(name, definition)
    const groupList = new Function(`return ${program.templates}`)()
    for (const { path, scope, config, css } of program.components) {
      space.addComponentStaticConfig(path, config)
      space.addStyleSheet(path, undefined, scope)
      space.addCompiledTemplate(path, { groupList, content: groupList[path] })
      document.head.append(Object.assign(document.createElement('style'), { textContent: css }))
      space.componentEnv(path, ({ Component, Behavior }) => run(program.modules, `${path}.js`, { Component, Behavior }))
    }
    const root = env.associateBackend(new glassEasel.CurrentWindowBackendContext()).createRoot('main', space, path)
    easel.room = root.get()
    for (const name of ['RoomEvent', 'IMEvent']) root.getComponent().addListener(name, ({ detail }) => easel.events.push({ name, ...JSON.parse(JSON.stringify(detail)) }))
    easel.room.setData(properties)
    document.documentElement.append(Object.assign(document.createElement('style'), { textContent: 'html, body, body > * { height: 100%; margin: 0; display: block } view { display: block } live-player, live-pusher, video { display: block; width: 100%; height: 100%; object-fit: cover }' }))
    const placeholder = document.body.appendChild(document.createElement('div'))
    root.attach(document.body, placeholder)
    easel.release = () => root.release()
  },
}

/** Runs a module of the mini-program. @param {Record<string, string>} modules @param {string} path @param {object} words  that it finds besides `require` */
function run(modules, path, words) {
  const module = { exports: {} }
  const require = (/** @type {string} */ name) => run(modules, new URL(name, `file:///${path}`).pathname.slice(1), {})
  const all = { require, module, exports: module.exports, wx, ...words }
  new Function(...Object.keys(all), `${modules[path]}\n//# sourceURL=${path}`)(...Object.values(all))
  return module.exports
}

/** A tag's element tells its component, but not before the component has done what it is at. @param {any} element @param {string} name @param {object} detail */
const tell = (element, name, detail) => setTimeout(() => element.triggerEvent(name, detail))

/** @param {any} space */
function livePlayer(space) {
  return space
    .define('live-player')
    .options({ virtualHost: false })
    .property('src', { type: String, observer() { this.again() } })
    .property('muteAudio', { type: Boolean })
    .property('muteVideo', { type: Boolean })
    .property('mode', { type: String })
    .data(() => ({}))
    .methods({
      again() {
        this.quit()
        if (!this.isHere || !this.data.src) return
        this.retries = RETRIES
        this.play()
      },
      play() {
        const player = (this.player = globalThis.mpegts.createPlayer({ type: 'flv', isLive: true, url: flvOf(this.data.src) }, { enableStashBuffer: false, liveBufferLatencyChasing: true }))
        const isMine = () => player === this.player
        const failed = () => {
          if (!isMine()) return
          this.quit()
          tell(this, 'statechange', { code: 2103, message: 'reconnecting' })
          if (this.retries-- > 0) this.timer = setTimeout(() => this.play(), RETRY_MS)
          else tell(this, 'statechange', { code: -2301, message: 'gave up' })
        }
        player.on(globalThis.mpegts.Events.ERROR, failed)
        player.on(globalThis.mpegts.Events.LOADING_COMPLETE, failed)
        player.attachMediaElement(this.video)
        player.load()
        player.play()?.catch(() => {})
        tell(this, 'statechange', { code: 2007, message: 'loading' })
      },
      quit() {
        clearTimeout(this.timer)
        this.player?.destroy()
        this.player = null
      },
    })
    .lifetime('attached', function () {
      this.isHere = true
      const element = this.$$ ?? this.getBackendElement()
      this.video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true })
      element.prepend(this.video)
      this.video.addEventListener('playing', () => {
        this.retries = RETRIES
        tell(this, 'statechange', { code: 2004, message: 'playing' })
      })
      const of = this.dataset.userid ?? this.id
      this.seen = { eye: new Eye(this.video), ear: new Ear(easel.audio.createMediaElementSource(this.video)) }
      this.key = of
      easel.players.set(of, this.seen)
      this.again()
    })
    .lifetime('detached', function () {
      this.isHere = false
      this.quit()
      if (easel.players.get(this.key) === this.seen) easel.players.delete(this.key)
    })
    .registerComponent()
}

/** @param {any} space */
function livePusher(space) {
  return space
    .define('live-pusher')
    .property('url', { type: String, observer() { this.again() } })
    .property('enableCamera', { type: Boolean })
    .property('muted', { type: Boolean })
    .methods({
      again() {
        if (!this.isHere || !this.data.url) return
        globalThis.pusherStarts(this.data.url).then(() => tell(this, 'statechange', { code: 1002, message: 'pushing' }))
      },
    })
    .lifetime('attached', function () {
      this.isHere = true
      this.again()
    })
    .lifetime('detached', function () {
      this.isHere = false
      globalThis.pusherStops()
    })
    .registerComponent()
}

/** A phone plays RTMP as well as FLV; a page only the latter. The server has both under one name. @param {string} src */
function flvOf(src) {
  if (!src.startsWith('rtmp:')) return src
  const { pathname, search } = new URL(src.replace(/^rtmp:/, 'http:'))
  return `${location.origin}${pathname}.flv${search}`
}

const nothing = () => new Proxy({}, { get: () => () => {} })

const wx = (globalThis.wx = {
  createLivePusherContext: nothing,
  createLivePlayerContext: nothing,
  /** @param {{ url: string }} options */
  connectSocket({ url }) {
    const socket = new WebSocket(url)
    easel.sockets.push(socket)
    return {
      onOpen: (/** @type {any} */ listener) => socket.addEventListener('open', listener),
      onMessage: (/** @type {any} */ listener) => socket.addEventListener('message', listener),
      onError: (/** @type {any} */ listener) => socket.addEventListener('error', () => listener({ errMsg: 'error' })),
      onClose: (/** @type {any} */ listener) => socket.addEventListener('close', listener),
      send: (/** @type {{ data: string }} */ { data }) => socket.send(data),
      close: () => socket.close(),
    }
  },
  /** @param {any} options */
  async request({ url, method = 'GET', data, header, success = () => {}, fail = () => {} }) {
    try {
      const response = await fetch(url, { method, headers: { 'content-type': 'application/json', ...header }, body: method === 'GET' ? undefined : JSON.stringify(data ?? {}) })
      success({ data: await response.json(), statusCode: response.status })
    } catch (error) {
      fail({ errMsg: String(error) })
    }
  },
})

window.easel = easel
