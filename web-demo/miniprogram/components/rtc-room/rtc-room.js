/**
 * `<rtc-room>`: RTMPRoom's tag for talks of two or four, over a roomcast server of your own. The room services say where to push and what to
 * play, `/signal` carries the messages and tells at once who comes and goes.
 */

const { RoomService, roomName } = require('../room-service/service.js')
const { Signal } = require('../webrtc-room/signal.js')

/** What `RoomEvent` says went wrong. */
const ERROR = { PUSH_URL: -1, CREATE_ROOM: -2, ENTER_ROOM: -3, OPEN_CAMERA: -4, OPEN_MIC: -5, PUSH_DISCONNECT: -6, CAMERA_MIC_PERMISSION: -7, EXCEEDS_THE_MAX_MEMBER: -8, PLAY: -9 }
/** Time between two signs of life, in milliseconds: a third of what the services wait. */
const HEARTBEAT_MS = 7000
/** Others that a layout can show. */
const SHOWN_MAX = { '1v1': 1 }
const SHOWN_MAX_ELSE = 3
/** The services' code for a room that is not there. */
const NO_ROOM = 3

Component({
  options: { multipleSlots: true, addGlobalClass: true },

  properties: {
    /** Where your roomcast is: https://rooms.example.org */
    server: { type: String, value: '' },
    /** Whose list: multi_room (four) or double_room (two). */
    list: { type: String, value: 'multi_room' },
    sdkAppID: { type: Number, value: 0 },
    userID: { type: String, value: '' },
    userSig: { type: String, value: '' },
    userName: { type: String, value: '' },
    userAvatar: { type: String, value: '' },
    /** create: makes the room; enter: goes into one that is there. */
    role: { type: String, value: 'enter' },
    /** Empty on creating: the server gives one, which the event `created` tells. */
    roomid: { type: null, value: '' },
    roomname: { type: String, value: '' },
    template: { type: String, value: '1v3' },
    beauty: { type: Number, value: 5 },
    muted: { type: Boolean, value: false },
    pureaudio: { type: Boolean, value: false },
    debug: { type: Boolean, value: false },
  },

  data: { pushURL: '', members: [], layout: '1v3' },

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

  methods: {
    /** Logs in, creates or enters the room and begins to push. */
    start() {
      this.stop()
      const { server, list, sdkAppID, userID, userSig, role, roomid, roomname } = this.data
      const service = (this.service = new RoomService(server, list))
      const isMine = () => service === this.service
      const step = (code, work) => work.catch((error) => Promise.reject({ code, error }))
      this.pusher = wx.createLivePusherContext('rtcpusher', this)
      this.room = String(roomid)
      const create = () => service.ask('create_room', Object.assign({ userID, roomInfo: roomname }, this.room && { roomID: this.room }))
      step(ERROR.ENTER_ROOM, service.enter({ sdkAppID, userID, userSig }))
        .then(() => role === 'create' && step(ERROR.CREATE_ROOM, create()))
        .then((created) => {
          if (!isMine()) return null
          if (created) this.room = created.roomID
          if (created) this.tell('created', 0, { roomID: this.room })
          return step(ERROR.PUSH_URL, service.ask('get_push_url', { userID, roomID: this.room }))
        })
        .then((answer) => answer && isMine() && this.setData({ pushURL: answer.pushURL }, () => this.pusher && this.pusher.start && this.pusher.start({})))
        .catch(({ code, error }) => isMine() && this.over(code, `${error.message} (${error.code})`))
    },

    /** Leaves the room. Who created it takes it along when the last one goes. */
    stop() {
      const { service, signal } = this
      this.service = this.signal = null
      clearInterval(this.heartbeat)
      if (service && service.login) {
        const leave = this.isIn ? service.ask('delete_pusher', { roomID: this.room, userID: this.data.userID }) : Promise.resolve()
        leave.catch(() => {}).then(() => service.ask('logout').catch(() => {}))
      }
      if (signal) signal.close()
      if (this.pusher && this.pusher.stop) this.pusher.stop({})
      this.pusher = null
      this.isIn = this.isPaused = false
      this.setData({ pushURL: '', members: [] })
    },

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

    /** Says something to everybody in the room. @param {string} text @param {Function} [succ] @param {Function} [fail] */
    sendTextMsg(text, succ, fail) {
      if (!this.signal) return fail && fail({ errCode: -1, errMsg: 'no room was entered' })
      this.signal.ask('message', { text }).then(
        () => succ && succ(),
        (error) => fail && fail({ errCode: error.code, errMsg: error.message }),
      )
    },

    // ------------------------------------------------------------------------------------------- pusher and players

    onPush({ detail }) {
      this.log('pusher', detail.code, detail.message)
      switch (detail.code) {
        case 1002:
          return this.enter()
        case 5000:
          return this.stop()
        case -1301:
          return this.over(ERROR.OPEN_CAMERA, detail.message)
        case -1302:
          return this.over(ERROR.OPEN_MIC, detail.message)
        case -1307:
          return this.over(ERROR.PUSH_DISCONNECT, detail.message)
      }
    },

    onPushError({ detail }) {
      if (detail.errCode === 10001 || detail.errCode === 10002) this.tell('error', ERROR.CAMERA_MIC_PERMISSION, detail.errMsg)
    },

    onPlay({ detail, currentTarget, target }) {
      const { userid } = (currentTarget || target).dataset
      this.log('player', userid, detail.code, detail.message)
      if (detail.code !== -2301) return
      // It gave up: the player goes, and comes back if the services still name its owner.
      this.tell('error', ERROR.PLAY, `${userid}: ${detail.message}`)
      this.setData({ members: this.data.members.filter(({ userID }) => userID !== userid) })
      this.look()
    },

    // ------------------------------------------------------------------------------------------------------ the room

    /** The pusher pushes: now we are in the room. */
    enter() {
      if (!this.service || this.isIn) return
      this.isIn = true
      const { server, sdkAppID, userID, userSig, userName, userAvatar, roomname, pushURL } = this.data
      const { service } = this
      const isMine = () => service === this.service
      const signal = (this.signal = new Signal(`${server.replace(/^http/, 'ws').replace(/\/+$/, '')}/signal`, {
        onEvent: (event) => signal === this.signal && this.hear(event),
        onState: (state) => state === 'connected' && this.look(),
        onClosed: ({ code, message }) => signal === this.signal && this.closed(code, message),
      }))
      const here = { roomID: this.room, userID, userName, userAvatar, pushURL, roomInfo: roomname }
      service
        .ask('add_pusher', here)
        .then(() => isMine() && signal.enter({ sdkAppID, userID, userSig, roomID: roomName(this.room), role: 'anchor', name: userName || userID }))
        .then(() => {
          if (!isMine()) return
          this.heartbeat = setInterval(() => service.ask('pusher_heartbeat', { roomID: this.room, userID }).catch(() => {}), HEARTBEAT_MS)
          this.tell('entered', 0, { roomID: this.room })
          this.look()
        })
        .catch(({ code, message }) => isMine() && this.over(ERROR.ENTER_ROOM, `${message} (${code})`))
    },

    hear(event) {
      if (event.type === 'message') return this.said(event)
      if (/^stream-|^member-|^entered-again/.test(event.type)) this.look()
    },

    /** Asks who pushes. Asked while an answer is awaited, it asks once more behind that. */
    look() {
      if (!this.service || !this.isIn) return
      if (this.isLooking) {
        this.looksAgain = true
        return
      }
      this.isLooking = true
      const { service } = this
      service
        .ask('get_pushers', { roomID: this.room })
        .then(
          ({ pushers }) => service === this.service && this.show(pushers.filter(({ userID }) => userID !== this.data.userID)),
          ({ code }) => service === this.service && code === NO_ROOM && this.closed(code, 'the room is gone'),
        )
        .then(() => {
          const again = this.looksAgain
          this.isLooking = this.looksAgain = false
          if (again) this.look()
        })
    },

    show(pushers) {
      const most = SHOWN_MAX[this.data.template] || SHOWN_MAX_ELSE
      if (pushers.length > most) this.tell('error', ERROR.EXCEEDS_THE_MAX_MEMBER, `there are ${pushers.length} others, and ${most} can be shown`)
      // Who was there keeps his player, and the address that it plays.
      const members = pushers.slice(0, most).map((pusher) => this.data.members.find(({ userID }) => userID === pusher.userID) || pusher)
      this.setData({ members })
      this.tell('members', 0, members)
    },

    said({ from, text, data, time }) {
      if (text === undefined && data === undefined) return
      const { userName = from, userAvatar = '' } = this.data.members.find(({ userID }) => userID === from) || {}
      this.tell('recvTextMsg', 0, { roomID: this.room, userID: from, nickName: userName, headPic: userAvatar, textMsg: text !== undefined ? text : data, time })
    },

    /** The room ended, or we were sent away. */
    closed(code, message) {
      this.stop()
      this.tell('roomClosed', 0, `${message} (${code})`)
    },

    over(code, detail) {
      this.stop()
      this.tell('error', code, detail)
    },

    players() {
      return this.data.members.map(({ userID }) => wx.createLivePlayerContext(`player-${userID}`, this)).filter(Boolean)
    },

    tell(tag, code, detail) {
      this.log(tag, code, detail)
      this.triggerEvent('RoomEvent', { tag, code, detail })
    },

    log(...words) {
      if (this.data.debug) console.log('rtc-room', ...words)
    },
  },
})
