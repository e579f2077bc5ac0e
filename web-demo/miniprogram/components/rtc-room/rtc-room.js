/**
 * `<rtc-room>`: RTMPRoom's tag for talks of two or four, over a roomcast server of your own. The room services say where to push and what to
 * play, `/signal` carries the messages and tells at once who comes and goes.
 */

const { RoomService } = require('../room-service/service.js')
const stay = require('../room-service/stay.js')

/** What `RoomEvent` says went wrong. */
const ERROR = { PUSH_URL: -1, CREATE_ROOM: -2, ENTER_ROOM: -3, OPEN_CAMERA: -4, OPEN_MIC: -5, PUSH_DISCONNECT: -6, CAMERA_MIC_PERMISSION: -7, EXCEEDS_THE_MAX_MEMBER: -8, PLAY: -9 }
/** Others that a layout can show. */
const SHOWN_MAX = { '1v1': 1 }
const SHOWN_MAX_ELSE = 3
/** The services' code for a room that is not there. */
const NO_ROOM = 3

Component(Object.assign({}, stay.life, {
  properties: Object.assign({}, stay.properties, {
    /** Whose list: multi_room (four) or double_room (two). */
    list: { type: String, value: 'multi_room' },
    /** create: makes the room; enter: goes into one that is there. */
    role: { type: String, value: 'enter' },
    template: { type: String, value: '1v3' },
  }),

  data: { pushURL: '', members: [], layout: '1v3' },

  methods: Object.assign(stay.methods({ tag: 'rtc-room', who: 'get_pushers', noRoom: NO_ROOM }), {
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
      const { userID, userName, userAvatar, roomname, pushURL } = this.data
      const { service } = this
      const isMine = () => service === this.service
      this.listen()
      const here = { roomID: this.room, userID, userName, userAvatar, pushURL, roomInfo: roomname }
      service
        .ask('add_pusher', here)
        .then(() => isMine() && this.join('anchor'))
        .then(() => {
          if (!isMine()) return
          this.beat('pusher_heartbeat')
          this.tell('entered', 0, { roomID: this.room })
          this.look()
        })
        .catch(({ code, message }) => isMine() && this.over(ERROR.ENTER_ROOM, `${message} (${code})`))
    },

    show({ pushers: all }) {
      const pushers = all.filter(({ userID }) => userID !== this.data.userID)
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

    gone(code) {
      this.closed(`the room is gone (${code})`)
    },

    /** The room ended, or we were sent away. */
    closed(detail) {
      this.stop()
      this.tell('roomClosed', 0, detail)
    },

    players() {
      return this.data.members.map(({ userID }) => wx.createLivePlayerContext(`player-${userID}`, this)).filter(Boolean)
    },
  }),
}))
