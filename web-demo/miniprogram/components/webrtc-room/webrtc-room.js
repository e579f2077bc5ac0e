/**
 * `<webrtc-room>`: the vendor's tag of 2018, over a roomcast server of your own. Attributes, methods, events and error codes are the
 * same; `server` is new and says where yours is. Pictures and sound go through live-pusher and live-player by RTMP and HTTP-FLV, members and
 * messages through the WebSocket /signal.
 */

const { Signal } = require('./signal.js')

/** What `RoomEvent` says went wrong. */
const ERROR = { OPEN_CAMERA: -4, OPEN_MIC: -5, PUSH_DISCONNECT: -6, CAMERA_MIC_PERMISSION: -7, EXCEEDS_THE_MAX_MEMBER: -8, REQUEST_ROOM_SIG: -9, JOIN_ROOM: -10 }
/** Others that a room can show. */
const MEMBERS_MAX = 3
/** What `fail` of a message is called with. */
const MESSAGE = { NO_RECEIVER: -1, EMPTY: -2, TOO_LONG: -3, NOT_SENT: -4 }
const TEMPLATES = ['bigsmall', 'float', 'grid', '1u3d', '1v1', '1v3', '1l3r']

Component({
  options: { multipleSlots: true, addGlobalClass: true },

  properties: {
    /** Where your roomcast is: wss://rooms.example.org */
    server: { type: String, value: '' },
    /** host[:port] of RTMP; the server's own host if empty. */
    rtmpHost: { type: String, value: '' },
    roomID: { type: null, value: 0 },
    userID: { type: String, value: '' },
    userName: { type: String, value: '' },
    userSig: { type: String, value: '' },
    sdkAppID: { type: Number, value: 0 },
    privateMapKey: { type: String, value: '' },
    template: { type: String, value: 'float' },
    beauty: { type: Number, value: 5 },
    whiteness: { type: Number, value: 5 },
    aspect: { type: String, value: '3:4' },
    minBitrate: { type: Number, value: 200 },
    maxBitrate: { type: Number, value: 400 },
    muted: { type: Boolean, value: false },
    debug: { type: Boolean, value: false },
    enableIM: { type: Boolean, value: true },
    roomCreator: { type: String, value: '' },
    useCloud: { type: Boolean, value: true },
    autoplay: { type: Boolean, value: false },
    enableCamera: { type: Boolean, value: true },
    pureAudioPushMod: { type: Number, value: 0 },
    recordId: { type: Number, value: null },
    smallViewLeft: { type: String, value: '1vw' },
    smallViewTop: { type: String, value: '1vw' },
    smallViewWidth: { type: String, value: '30vw' },
    smallViewHeight: { type: String, value: '40vw' },
    waitingImg: { type: String, value: '' },
    loadingImg: { type: String, value: '' },
  },

  data: { pushURL: '', members: [], frontCamera: true, layout: 'float' },

  lifetimes: {
    attached() {
      this.setData({ layout: layoutOf(this.data.template) })
      if (this.data.autoplay) this.start()
    },
    detached() {
      this.stop()
    },
  },

  pageLifetimes: {
    show() {
      if (this.isPaused) this.resume()
    },
    hide() {
      this.pause()
    },
  },

  observers: {
    template(template) {
      this.setData({ layout: layoutOf(template) })
    },
  },

  methods: {
    /** Enters the room and begins to push. */
    start() {
      this.stop()
      const { server, sdkAppID, userID, userSig, roomID, privateMapKey, userName } = this.data
      if (!server || !userID || !userSig || !roomID) return this.fail(ERROR.REQUEST_ROOM_SIG, 'server, roomID, userID and userSig are needed')
      this.pusher = wx.createLivePusherContext('rtcpusher', this)
      const signal = new Signal(`${server.replace(/^http/, 'ws').replace(/\/+$/, '')}/signal`, {
        onEvent: (event) => signal === this.signal && this.hear(event),
        onState: (state) => this.tellIM('connection_event', state === 'connected' ? 0 : 1, state),
        onClosed: (reason) => signal === this.signal && this.over(reason),
      })
      this.signal = signal
      const ticket = { sdkAppID, userID, userSig, roomID: roomName(roomID), role: 'anchor' }
      if (privateMapKey) ticket.privateMapKey = privateMapKey
      if (userName) ticket.name = userName
      signal.enter(ticket).then(
        ({ members, history }) => {
          if (signal !== this.signal) return
          this.tellIM('login_event', 0, 'login ok')
          this.tellIM('join_group_event', 0, 'join group ok')
          this.everybody = {}
          members.forEach((member) => this.put(member))
          ;(history || []).forEach((message) => this.said(message))
          this.show()
          this.setData({ pushURL: this.pushURL() }, () => this.pusher && this.pusher.start && this.pusher.start({}))
          this.tellRoom('room', 0, 'entered')
        },
        (error) => {
          if (signal !== this.signal) return
          this.tellIM('login_event', error.code, error.message)
          // What is wrong with the ticket is the signature's matter, the rest is the room's.
          const isTicket = error.code >= 70000 && error.code < 72000
          this.fail(isTicket ? ERROR.REQUEST_ROOM_SIG : ERROR.JOIN_ROOM, `${error.message} (${error.code})`)
        },
      )
    },

    /** Leaves the room. */
    stop() {
      const { signal } = this
      this.signal = null
      this.isPaused = false
      if (signal) signal.close()
      if (this.pusher && this.pusher.stop) this.pusher.stop({})
      this.pusher = null
      this.everybody = {}
      this.setData({ pushURL: '', members: [] })
    },

    pause() {
      if (!this.signal) return
      this.isPaused = true
      if (this.pusher && this.pusher.pause) this.pusher.pause({})
      this.players().forEach((player) => player.pause && player.pause({}))
    },

    resume() {
      if (!this.signal) return
      this.isPaused = false
      if (this.pusher && this.pusher.resume) this.pusher.resume({})
      this.players().forEach((player) => player.resume && player.resume({}))
    },

    switchCamera() {
      this.setData({ frontCamera: !this.data.frontCamera })
      if (this.pusher && this.pusher.switchCamera) this.pusher.switchCamera({})
    },

    /** Whether a member is seen here; he himself notices nothing. @param {boolean} on @param {string} userID */
    enableVideo(on, userID) {
      this.setMember(userID, { muteVideo: !on })
    },

    /** Whether a member is heard here. @param {boolean} on @param {string} userID */
    enableAudio(on, userID) {
      this.setMember(userID, { muteAudio: !on })
    },

    sendC2CTextMsg(receiver, text, succ, fail) {
      this.send({ to: receiver, text }, text, succ, fail, !receiver)
    },

    sendC2CCustomMsg(receiver, content, succ, fail) {
      this.send(Object.assign({ to: receiver }, custom(content)), content && content.data, succ, fail, !receiver)
    },

    sendGroupTextMsg(text, succ, fail) {
      this.send({ text }, text, succ, fail)
    },

    sendGroupCustomMsg(content, succ, fail) {
      this.send(custom(content), content && content.data, succ, fail)
    },

    // ------------------------------------------------------------------------------------------- pusher and players

    onPush({ detail }) {
      this.log('pusher', detail.code, detail.message)
      switch (detail.code) {
        case 1002:
          return this.tellRoom('push', 1002, 'pushing')
        case 1021:
          // Another network: the old connection leads nowhere.
          this.stop()
          return this.start()
        case 5000:
          return this.stop()
        case -1301:
          this.stop()
          return this.fail(ERROR.OPEN_CAMERA, detail.message)
        case -1302:
          this.stop()
          return this.fail(ERROR.OPEN_MIC, detail.message)
        case -1307:
          this.stop()
          return this.fail(ERROR.PUSH_DISCONNECT, detail.message)
      }
    },

    onPushError({ detail }) {
      if (detail.errCode === 10001 || detail.errCode === 10002) this.fail(ERROR.CAMERA_MIC_PERMISSION, detail.errMsg)
    },

    onPlay({ detail, currentTarget, target }) {
      const { userid } = (currentTarget || target).dataset
      this.log('player', userid, detail.code, detail.message)
      if (detail.code === 2004) this.setMember(userid, { loading: false })
      if (detail.code === 2007) this.setMember(userid, { loading: true })
      // It gave up: the stream is taken off, and put back with the next one.
      if (detail.code === -2301) this.drop(userid)
    },

    onNetStatus({ detail }) {
      this.triggerEvent('NetStatus', detail)
    },

    // ------------------------------------------------------------------------------------------------------ the room

    hear(event) {
      switch (event.type) {
        case 'entered-again':
          this.everybody = {}
          event.members.forEach((member) => this.put(member))
          return this.show()
        case 'member-entered':
        case 'member-changed':
          this.put(event.member)
          return this.show()
        case 'member-left':
          return this.drop(event.userID)
        case 'stream-added':
        case 'stream-changed':
          this.putStream(event.userID, event.stream)
          return this.show()
        case 'stream-removed':
          this.putStream(event.userID, { stream: event.stream, audio: null, video: null })
          return this.show()
        case 'room-changed':
          return this.tellIM('group_info_change_notify', 0, { GroupId: String(this.data.roomID), owner: event.owner, locked: event.locked, metadata: event.metadata })
        case 'message':
          return this.said(event)
      }
    },

    put(member) {
      if (member.userID === this.data.userID) return
      const before = this.everybody[member.userID]
      this.everybody[member.userID] = Object.assign({ muteAudio: false, muteVideo: false, loading: true }, before, { userID: member.userID, userName: member.name, streams: {} })
      member.streams.forEach((stream) => this.putStream(member.userID, stream))
    },

    putStream(userID, { stream, audio, video }) {
      const member = this.everybody[userID]
      if (!member) return
      if (audio || video) member.streams[stream] = true
      else delete member.streams[stream]
    },

    /** Gives the players what there is to play; a shared screen goes before its owner's camera. */
    show() {
      const playing = Object.keys(this.everybody)
        .map((userID) => this.everybody[userID])
        .filter(({ streams }) => streams.main || streams.aux)
        .map((member) => Object.assign({}, member, { accelerateURL: this.playURL(member.userID, member.streams.aux ? 'aux' : 'main') }))
      const most = this.data.template === '1v1' ? 1 : MEMBERS_MAX
      if (playing.length > most) this.fail(ERROR.EXCEEDS_THE_MAX_MEMBER, `there are ${playing.length} others, and ${most} can be shown`)
      const members = playing.slice(0, most)
      this.setData({ members })
      this.triggerEvent('RoomEvent', { tag: 'members', code: 0, detail: members.map(({ userID, userName, accelerateURL }) => ({ userID, userName, accelerateURL })) })
    },

    drop(userID) {
      if (!this.everybody || !this.everybody[userID]) return
      delete this.everybody[userID]
      this.show()
    },

    setMember(userID, change) {
      const member = this.everybody && this.everybody[userID]
      if (!member) return
      Object.assign(member, change)
      this.setData({ members: this.data.members.map((shown) => (shown.userID === userID ? Object.assign({}, shown, change) : shown)) })
    },

    /** The connection is over, and not by us. */
    over({ code, message }) {
      this.signal = null
      this.stop()
      if (code === 73010 || code === 73011 || code === 73017) this.tellIM('kicked', code, message)
      else if (code === 73012) this.tellIM('error', 'group_system_notifys', 5)
      this.fail(ERROR.JOIN_ROOM, `${message} (${code})`)
    },

    said({ from, to, text, data, desc, ext, time }) {
      const content = text !== undefined ? { MsgType: 'TIMTextElem', MsgContent: { Text: text } } : { MsgType: 'TIMCustomElem', MsgContent: { Data: data, Desc: desc || '', Ext: ext || '' } }
      const detail = { fromAccountNick: from || '', fromAccount: from || '', content: text !== undefined ? text : data, isSystem: from === undefined, time: Math.floor(time / 1000), MsgBody: [content] }
      this.tellIM(to === undefined ? 'big_group_msg_notify' : 'msg_notify', 0, detail)
    },

    send(message, content, succ, fail, isWithoutReceiver) {
      const failed = (code, text) => fail && fail({ errCode: code, errMsg: text })
      if (!this.data.enableIM || !this.signal) return failed(MESSAGE.NOT_SENT, 'no room was entered')
      if (isWithoutReceiver) return failed(MESSAGE.NO_RECEIVER, 'there is no receiver')
      if (!content) return failed(MESSAGE.EMPTY, 'the message is empty')
      this.signal.ask('message', message).then(
        () => succ && succ(),
        ({ code, message: text }) => failed(code === 73019 ? MESSAGE.TOO_LONG : MESSAGE.NOT_SENT, `${text} (${code})`),
      )
    },

    // ------------------------------------------------------------------------------------------------------ addresses

    host() {
      return this.data.server.replace(/^\w+:\/\//, '').replace(/\/.*$/, '')
    },

    pushURL() {
      const { sdkAppID, userID, userSig, privateMapKey, roomID, rtmpHost } = this.data
      const host = rtmpHost || this.host().replace(/:\d+$/, '')
      const fields = [`sdkappid=${sdkAppID}`, `userid=${encodeURIComponent(userID)}`, `usersig=${encodeURIComponent(userSig)}`]
      if (privateMapKey) fields.push(`privatemapkey=${encodeURIComponent(privateMapKey)}`)
      return `rtmp://${host}/push/${encodeURIComponent(roomID)}?${fields.join('&')}`
    },

    playURL(userID, stream) {
      const { sdkAppID, roomID, userSig, privateMapKey, server } = this.data
      const name = [sdkAppID, roomID, userID, stream].map(encodeURIComponent).join('_')
      const secure = /^(wss|https):/.test(server) ? 'https' : 'http'
      const fields = [`userid=${encodeURIComponent(this.data.userID)}`, `usersig=${encodeURIComponent(userSig)}`]
      if (privateMapKey) fields.push(`privatemapkey=${encodeURIComponent(privateMapKey)}`)
      return `${secure}://${this.host()}/live/${name}.flv?${fields.join('&')}`
    },

    players() {
      return this.data.members.map(({ userID }) => wx.createLivePlayerContext(`player-${userID}`, this)).filter(Boolean)
    },

    // --------------------------------------------------------------------------------------------------------- events

    tellRoom(tag, code, detail) {
      this.triggerEvent('RoomEvent', { tag, code, detail })
    },

    tellIM(tag, code, detail) {
      if (this.data.enableIM) this.triggerEvent('IMEvent', { tag, code, detail })
    },

    fail(code, detail) {
      this.log('error', code, detail)
      this.tellRoom('error', code, detail)
    },

    log(...words) {
      if (this.data.debug) console.log('webrtc-room', ...words)
    },
  },
})

/** The classes of the room: a template of the app's own looks like `float` until the app's wxss says otherwise. */
function layoutOf(template) {
  if (TEMPLATES.includes(template)) return template
  return /^[\w-]+$/.test(template) ? `float ${template}` : 'float'
}

/** A number where it is one: room 1001 and room "1001" are the same, but the ticket is for the number. */
function roomName(roomID) {
  return /^[1-9]\d*$/.test(String(roomID)) ? Number(roomID) : String(roomID)
}

function custom(content) {
  const { data = '', desc = '', ext = '' } = content || {}
  return { data, desc, ext }
}
