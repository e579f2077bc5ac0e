/**
 * `<mlvb-live-room>`: the MLVB live room's tag over a roomcast server of your own. One anchor is watched by an audience, and who asks and is
 * let goes on the stage beside him (*linkmic*). The room services say where to push and what to play; `/signal` carries texts and requests.
 */

const { RoomService } = require('../room-service/service.js')
const stay = require('../room-service/stay.js')

/** What `RoomEvent` says went wrong, besides the pusher's own codes. */
const ERROR = { CREATE_ROOM: -9001, PUSH_URL: -9002, ENTER_ROOM: -9003, LINK_REQUEST: -9004, SEND: -9005, ROOM_CLOSED: -9006, LINK_REFUSED: 0, LINK: -1, LINK_PLAY: -2, PLAY: -2301 }
/** Codes of the pusher that end it, each told as it is. */
const PUSHER_ENDS = [-1301, -1302, -1305, -1306, -1307, 5000]
/** How long an anchor may take to answer a request, in milliseconds. */
const ANSWER_MS = 10000
/** On the stage beside the anchor. */
const LINKED_MAX = 3
/** The services' code for a room that is not there. */
const NO_ROOM = 203001

Component(Object.assign({}, stay.life, {
  properties: Object.assign({}, stay.properties, {
    /** anchor: creates the room and pushes into it; audience: watches. */
    role: { type: String, value: 'audience' },
    template: { type: String, value: 'float' },
  }),

  data: { pushURL: '', visualURL: '', members: [], layout: 'float', isLinked: false },

  methods: Object.assign(stay.methods({ tag: 'mlvb-live-room', who: 'get_anchors', noRoom: NO_ROOM }), {
    /** An anchor creates the room and pushes; the audience comes in and watches. */
    start() {
      this.stop()
      const { server, sdkAppID, userID, userSig, role } = this.data
      const service = (this.service = new RoomService(server, 'live_room'))
      this.room = String(this.data.roomid)
      service
        .enter({ sdkAppID, userID, userSig, platform: 'WeChat' })
        .catch((error) => Promise.reject({ code: ERROR.ENTER_ROOM, error }))
        .then(() => service === this.service && (role === 'anchor' ? this.create() : this.watch()))
        .catch(({ code, error }) => service === this.service && this.over(code, `${error.message} (${error.code})`))
    },

    /** Leaves the room. With its anchor it ends. */
    stop() {
      const { service, signal } = this
      this.service = this.signal = null
      clearInterval(this.heartbeat)
      clearTimeout(this.request)
      if (service && service.login) {
        const here = { roomID: this.room, userID: this.data.userID }
        const command = this.data.role === 'audience' ? 'delete_audience' : 'destroy_room'
        const leave = this.isIn ? (this.isOnStage && command === 'delete_audience' ? service.ask('delete_anchor', here).catch(() => {}) : Promise.resolve()).then(() => service.ask(command, here)) : Promise.resolve()
        leave.catch(() => {}).then(() => service.ask('logout').catch(() => {}))
      }
      if (signal) signal.close()
      if (this.pusher && this.pusher.stop) this.pusher.stop({})
      this.pusher = this.anchor = null
      this.isIn = this.isOnStage = this.isPaused = false
      this.setData({ pushURL: '', visualURL: '', members: [], isLinked: false })
    },

    /** Says something to everybody in the room. @param {string} text */
    sendTextMsg(text) {
      this.say({ text })
    },

    /** Says something of your own kind to one user. @param {string} cmd @param {any} data @param {string} to */
    sendC2CCustomMsg(cmd, data, to) {
      this.say({ to, data: JSON.stringify({ cmd, data }) })
    },

    // --------------------------------------------------------------------------------------------------- the stage

    /** The audience asks to come on the stage; `linkOn` or an error tells how it went. */
    requestJoinAnchor() {
      if (!this.signal || !this.anchor) return this.tell('error', ERROR.LINK_REQUEST, 'there is nobody to ask')
      const { userID, userName, userAvatar } = this.data
      clearTimeout(this.request)
      this.request = setTimeout(() => this.tell('error', ERROR.LINK_REFUSED, 'the anchor did not answer'), ANSWER_MS)
      this.link(this.anchor, { type: 'request', userID, userName, userAvatar }).catch((error) => {
        clearTimeout(this.request)
        this.tell('error', ERROR.LINK_REQUEST, `${error.message} (${error.code})`)
      })
    },

    /** The anchor lets somebody on the stage who asked. @param {{ userID: string }} audience */
    acceptJoinAnchor({ userID }) {
      this.link(userID, { type: 'response', result: 'accept', message: '' }).catch(() => {}) // he has left meanwhile
    },

    /** @param {{ userID: string }} audience @param {string} [message] */
    rejectJoinAnchor({ userID }, message = 'refused') {
      this.link(userID, { type: 'response', result: 'reject', message }).catch(() => {})
    },

    /** The anchor sends somebody from the stage. @param {{ userID: string }} linked */
    kickoutJoinAnchor({ userID }) {
      this.link(userID, { type: 'kickout' }).catch(() => {})
      if (this.service) this.service.ask('delete_anchor', { roomID: this.room, userID }).catch(() => {})
    },

    /** Goes from the stage and watches again. */
    quitJoinAnchor() {
      if (this.data.role !== 'audience' || !this.data.pushURL) return
      if (this.pusher && this.pusher.stop) this.pusher.stop({})
      this.pusher = null
      if (this.service && this.isOnStage) this.service.ask('delete_anchor', { roomID: this.room, userID: this.data.userID }).catch(() => {})
      this.isOnStage = false
      clearInterval(this.heartbeat)
      this.become('audience').catch(() => {})
      this.setData({ pushURL: '', isLinked: false, visualURL: this.mixedURL, members: [] })
      this.tell('linkOut', 0, '')
      this.look()
    },

    // ------------------------------------------------------------------------------------------- pusher and players

    onPush({ detail }) {
      this.log('pusher', detail.code, detail.message)
      if (detail.code === 1002) return this.goOnStage()
      if (!PUSHER_ENDS.includes(detail.code)) return
      // On the stage it costs the stage, the anchor the room.
      if (this.data.role === 'audience') {
        this.tell('error', ERROR.LINK, detail.message)
        return this.quitJoinAnchor()
      }
      this.over(detail.code, detail.message)
    },

    onPushError({ detail }) {
      this.tell('error', detail.errCode, detail.errMsg)
    },

    onPlay({ detail, currentTarget, target }) {
      const { userid } = (currentTarget || target).dataset
      this.log('player', userid, detail.code, detail.message)
      if (detail.code !== -2301) return
      this.tell('error', this.data.isLinked || userid !== 'main' ? ERROR.LINK_PLAY : ERROR.PLAY, detail.message)
      if (userid === 'main') this.setData({ visualURL: '' })
      else this.setData({ members: this.data.members.filter(({ userID }) => userID !== userid) })
      this.look()
    },

    // ------------------------------------------------------------------------------------------------------ the room

    /** The anchor's way in. */
    create() {
      const { service } = this
      const { userID, roomname } = this.data
      const named = this.room ? { roomID: this.room } : {}
      return service
        .ask('create_room', Object.assign({ userID, roomInfo: roomname }, named))
        .catch((error) => Promise.reject({ code: ERROR.CREATE_ROOM, error }))
        .then(({ roomID }) => {
          this.room = roomID
          return this.push()
        })
    },

    /** Asks where to push, and pushes. */
    push() {
      const { service } = this
      this.pusher = wx.createLivePusherContext('rtcpusher', this)
      return service
        .ask('get_anchor_url', { userID: this.data.userID, roomID: this.room })
        .then(({ pushURL }) => service === this.service && this.setData({ pushURL }, () => this.pusher && this.pusher.start && this.pusher.start({})))
        .catch((error) => Promise.reject({ code: ERROR.PUSH_URL, error }))
    },

    /** The pusher pushes: now everybody is told. */
    goOnStage() {
      if (!this.service || this.isOnStage) return
      this.isOnStage = true
      const { service } = this
      const { role, userID, userName, userAvatar, pushURL } = this.data
      service
        .ask('add_anchor', { roomID: this.room, userID, userName, userAvatar, pushURL })
        .then(() => (role === 'anchor' ? this.talk('anchor') : null))
        .then(() => {
          if (service !== this.service) return
          this.beat('anchor_heartbeat')
          this.isIn = true
          if (role === 'anchor') this.tell('created', 0, { roomID: this.room })
          else {
            this.setData({ isLinked: true })
            this.tell('linkOn', 0, '')
          }
          this.look()
        })
        .catch(({ code, message }) => service === this.service && this.over(role === 'anchor' ? ERROR.CREATE_ROOM : ERROR.LINK, `${message} (${code})`))
    },

    /** The audience's way in. */
    watch() {
      const { service } = this
      const { userID, userName, userAvatar } = this.data
      return service
        .ask('add_audience', { roomID: this.room, userID, userInfo: JSON.stringify({ userName, userAvatar }) })
        .then(() => this.talk('audience'))
        .then(() => {
          if (service !== this.service) return
          this.isIn = true
          this.look()
        })
        .catch((error) => Promise.reject({ code: ERROR.ENTER_ROOM, error }))
    },

    /** Joins the room's talk. @param {'anchor' | 'audience'} role */
    talk(role) {
      this.listen()
      return this.join(role)
    },

    show({ roomCreator, mixedPlayURL, pushers }) {
      this.anchor = roomCreator
      this.mixedURL = mixedPlayURL
      const isAudience = this.data.role === 'audience'
      const anchor = pushers.find(({ userID }) => userID === roomCreator)
      const others = pushers.filter(({ userID }) => userID !== this.data.userID && userID !== roomCreator)
      // Who watches sees the anchor only, as a broadcast; who is on the stage sees everybody on it, at once.
      const seen = isAudience && !this.data.isLinked ? [] : others.slice(0, LINKED_MAX)
      const members = seen.map((one) => this.data.members.find(({ userID }) => userID === one.userID) || one)
      const visualURL = !isAudience || !anchor ? '' : this.data.isLinked ? anchor.accelerateURL : mixedPlayURL
      this.setData({ members, visualURL })
      this.tell('members', 0, pushers)
    },

    said({ from, to, text, data, time }) {
      const command = data === undefined ? null : parsed(data)
      if (command && command.cmd === 'linkmic') return this.linked(from, command.data || {})
      if (command && command.cmd === 'sketchpad') return this.tell('sketchpadData', 0, command.data)
      if (to !== undefined) return this.tell('recvC2CMsg', 0, { userID: from, data })
      const member = this.data.members.find(({ userID }) => userID === from) || {}
      this.tell('recvTextMsg', 0, { roomID: this.room, userID: from, nickName: member.userName || from, headPic: member.userAvatar || '', textMsg: text !== undefined ? text : data, time })
    },

    /** What the other side of a link says. @param {string} from @param {any} what */
    linked(from, what) {
      if (what.roomID !== this.room) return
      const isAnchor = this.data.role === 'anchor'
      if (what.type === 'request' && isAnchor) return this.tell('requestJoinAnchor', 0, { userID: from, userName: what.userName || from, userAvatar: what.userAvatar || '' })
      // Only the anchor decides who is on the stage.
      if (isAnchor || from !== this.anchor) return
      if (what.type === 'kickout') return this.quitJoinAnchor()
      if (what.type !== 'response') return
      clearTimeout(this.request)
      if (what.result !== 'accept') return this.tell('error', ERROR.LINK_REFUSED, what.message || 'refused')
      // The audience of the talk may not send.
      this.become('anchor')
        .catch((error) => Promise.reject({ error }))
        .then(() => this.push())
        .catch(({ error }) => this.tell('error', ERROR.LINK, `${error.message} (${error.code})`))
    },

    /** @param {'anchor' | 'audience'} role  in the talk @returns {Promise<any>} */
    become(role) {
      const { userSig } = this.data
      return this.signal ? this.signal.ask('role', role === 'anchor' ? { role, userSig } : { role }) : Promise.reject({ code: ERROR.LINK, message: 'no room was entered' })
    },

    /** @param {string} to @param {object} data @returns {Promise<any>} */
    link(to, data) {
      if (!this.signal) return Promise.reject({ code: ERROR.LINK_REQUEST, message: 'no room was entered' })
      return this.signal.ask('message', { to, data: JSON.stringify({ cmd: 'linkmic', data: Object.assign({ roomID: this.room, timestamp: Date.now() }, data) }) })
    },

    say(message) {
      if (!this.signal) return this.tell('error', ERROR.SEND, 'no room was entered')
      this.signal.ask('message', message).catch(({ code, message: why }) => this.tell('error', ERROR.SEND, `${why} (${code})`))
    },

    gone() {
      this.closed('the room is gone')
    },

    /** The room ended, or we were sent away. */
    closed(detail) {
      this.stop()
      this.tell('roomClosed', ERROR.ROOM_CLOSED, detail)
    },

    players() {
      return ['main', ...this.data.members.map(({ userID }) => userID)].map((id) => wx.createLivePlayerContext(`player-${id}`, this)).filter(Boolean)
    },
  }),
}))

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch (error) {
    return null
  }
}
