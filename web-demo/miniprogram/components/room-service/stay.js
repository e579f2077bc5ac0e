/** What the tags over the room services have in common: who somebody is, and how he stays in a room. Each puts its own on top. */

const { roomName } = require('./service.js')
const { Signal } = require('../webrtc-room/signal.js')

/** Time between two signs of life, in milliseconds: a third of what the services wait. */
const HEARTBEAT_MS = 7000

const properties = {
  /** Where your roomcast is: https://rooms.example.org */
  server: { type: String, value: '' },
  sdkAppID: { type: Number, value: 0 },
  userID: { type: String, value: '' },
  userSig: { type: String, value: '' },
  userName: { type: String, value: '' },
  userAvatar: { type: String, value: '' },
  /** Empty for whoever makes the room: the server gives one, which the event `created` tells. */
  roomid: { type: null, value: '' },
  roomname: { type: String, value: '' },
  beauty: { type: Number, value: 5 },
  muted: { type: Boolean, value: false },
  pureaudio: { type: Boolean, value: false },
  debug: { type: Boolean, value: false },
}

/** Of a component that has the methods below, `start` and `stop`. */
const life = {
  options: { multipleSlots: true, addGlobalClass: true },

  observers: {
    template(layout) {
      this.setData({ layout })
    },
  },

  lifetimes: {
    detached() {
      this.stop()
    },
  },

  pageLifetimes: {
    show() {
      this.resume()
    },
    hide() {
      this.pause()
    },
  },
}

/**
 * Methods of a component that has `players`, `said`, `show`, `gone` and `closed` of its own.
 * @param {{ tag: string, who: string, noRoom: number }} of  the tag's name, the service's command that says who is there, and its code
 *   for a room that is not there
 */
const methods = ({ tag, who, noRoom }) => ({
  pause() {
    if (!this.service) return
    this.isPaused = true
    if (this.pusher && this.pusher.pause) this.pusher.pause({})
    this.players().forEach((player) => player.pause && player.pause({}))
  },

  resume() {
    if (!this.service || !this.isPaused) return
    this.isPaused = false
    if (this.pusher && this.pusher.resume) this.pusher.resume({})
    this.players().forEach((player) => player.resume && player.resume({}))
  },

  switchCamera() {
    if (this.pusher && this.pusher.switchCamera) this.pusher.switchCamera({})
  },

  /** Makes the line of the room's talk. */
  listen() {
    const { server } = this.data
    const signal = (this.signal = new Signal(`${server.replace(/^http/, 'ws').replace(/\/+$/, '')}/signal`, {
      onEvent: (event) => signal === this.signal && this.hear(event),
      onState: (state) => state === 'connected' && this.look(),
      onClosed: ({ code, message }) => signal === this.signal && this.closed(`${message} (${code})`),
    }))
  },

  /** Joins the talk. @param {'anchor' | 'audience'} role @returns {Promise<any>} */
  join(role) {
    const { sdkAppID, userID, userSig, userName } = this.data
    return this.signal.enter({ sdkAppID, userID, userSig, roomID: roomName(this.room), role, name: userName || userID })
  },

  hear(event) {
    if (event.type === 'message') return this.said(event)
    if (/^stream-|^member-|^entered-again/.test(event.type)) this.look()
  },

  /** Asks who is there. Asked while an answer is awaited, it asks once more behind that. */
  look() {
    if (!this.service || !this.isIn) return
    if (this.isLooking) {
      this.looksAgain = true
      return
    }
    this.isLooking = true
    const { service } = this
    service
      .ask(who, { roomID: this.room })
      .then(
        (room) => service === this.service && this.show(room),
        ({ code }) => service === this.service && code === noRoom && this.gone(code),
      )
      .then(() => {
        const again = this.looksAgain
        this.isLooking = this.looksAgain = false
        if (again) this.look()
      })
  },

  /** Says again and again that we are here. @param {string} command */
  beat(command) {
    const { service, room } = this
    const { userID } = this.data
    clearInterval(this.heartbeat)
    this.heartbeat = setInterval(() => service.ask(command, { roomID: room, userID }).catch(() => {}), HEARTBEAT_MS)
  },

  over(code, detail) {
    this.stop()
    this.tell('error', code, detail)
  },

  tell(name, code, detail) {
    this.log(name, code, detail)
    this.triggerEvent('RoomEvent', { tag: name, code, detail })
  },

  log(...words) {
    if (this.data.debug) console.log(tag, ...words)
  },
})

module.exports = { properties, life, methods }
