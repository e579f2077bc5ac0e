/**
 * The WebSocket to a roomcast server's `/signal`, for mini-programs: requests with answers, and events. When it breaks it comes back by
 * `resume`, or, where that is refused, by entering anew. (signaling/PROTOCOL.md in roomcast's repository.)
 */

/** How long a request may take, in milliseconds. */
const REQUEST_MS = 15000
/** Time before the first try to come back, in milliseconds; it doubles up to the second. */
const RETRY_MIN_MS = 500
const RETRY_MAX_MS = 8000

class Signal {
  /**
   * @param {string} url  ends in /signal
   * @param {{ onEvent: Function, onState: Function, onClosed: Function }} callbacks  `onState` is told `connected` or `reconnecting`,
   *   `onClosed` the error for which it is over
   */
  constructor(url, callbacks) {
    this.url = url
    this.callbacks = callbacks
    this.nextId = 1
    this.waiting = {}
    this.seq = 0
    this.isOver = false
    this.isOpen = false
    this.retryMs = RETRY_MIN_MS
  }

  /** Connects and enters. @param {object} ticket  the fields of `enter` @returns {Promise<object>} the server's answer */
  enter(ticket) {
    this.ticket = ticket
    return this.open().then(() => this.ask('enter', ticket)).then((entered) => this.begin(entered))
  }

  /** @param {string} type @param {object} [fields] @returns {Promise<object>} */
  ask(type, fields) {
    const id = this.nextId++
    const text = JSON.stringify(Object.assign({ id, type }, fields))
    return new Promise((resolve, reject) => {
      if (this.isOver) return reject({ code: 'closed', message: 'the room was left' })
      const timer = setTimeout(() => {
        delete this.waiting[id]
        reject({ code: 'timeout', message: `no answer to ${type}` })
      }, REQUEST_MS)
      this.waiting[id] = { resolve, reject, timer, text }
      // While the connection is away requests wait for it.
      if (this.isOpen || type === 'resume') this.socket.send({ data: text })
    })
  }

  /** Leaves for good. */
  close() {
    if (this.isOver) return
    if (this.isOpen) this.socket.send({ data: JSON.stringify({ id: this.nextId++, type: 'leave' }) })
    this.end({ code: 0, message: 'the room was left' })
  }

  begin(entered) {
    this.resumeToken = entered.resumeToken
    clearInterval(this.heartbeat)
    this.heartbeat = setInterval(() => this.isOpen && this.ask('heartbeat').catch(() => {}), entered.heartbeatSeconds * 1000)
    return entered
  }

  open() {
    return new Promise((resolve, reject) => {
      const socket = wx.connectSocket({ url: this.url, fail: (error) => reject({ code: 'unreachable', message: (error && error.errMsg) || 'no connection' }) })
      this.socket = socket
      socket.onOpen(() => {
        if (socket !== this.socket) return
        this.isOpen = true
        resolve()
      })
      socket.onMessage(({ data }) => socket === this.socket && this.hear(JSON.parse(data)))
      socket.onError(() => reject({ code: 'unreachable', message: 'no connection' }))
      socket.onClose(() => {
        reject({ code: 'unreachable', message: 'no connection' })
        if (socket === this.socket) this.lose()
      })
    })
  }

  hear(message) {
    if (message.seq !== undefined) this.seq = message.seq
    const waiting = this.waiting[message.id]
    if (!waiting) {
      if (message.type === 'closed') return this.end(message)
      return this.callbacks.onEvent(message)
    }
    delete this.waiting[message.id]
    clearTimeout(waiting.timer)
    if (message.type === 'ok') waiting.resolve(message)
    else waiting.reject(message)
  }

  lose() {
    const wasOpen = this.isOpen
    this.isOpen = false
    if (this.isOver) return
    if (!this.resumeToken) return
    if (wasOpen) this.callbacks.onState('reconnecting')
    clearTimeout(this.retry)
    this.retry = setTimeout(() => this.comeBack(), this.retryMs)
    this.retryMs = Math.min(2 * this.retryMs, RETRY_MAX_MS)
  }

  comeBack() {
    if (this.isOver) return
    const again = this.open().then(() => this.ask('resume', { resumeToken: this.resumeToken, seq: this.seq }))
    again
      .catch((error) => {
        if (!error || typeof error.code !== 'number') throw error
        // Too late for that: a new stay.
        this.seq = 0
        return this.ask('enter', this.ticket).then((entered) => {
          this.begin(entered)
          this.callbacks.onEvent({ type: 'entered-again', members: entered.members })
          return { lastRequest: this.nextId }
        })
      })
      .then((resumed) => {
        this.retryMs = RETRY_MIN_MS
        Object.keys(this.waiting)
          .map(Number)
          .sort((a, b) => a - b)
          .forEach((id) => id > resumed.lastRequest && this.socket.send({ data: this.waiting[id].text }))
        this.callbacks.onState('connected')
      })
      .catch((error) => {
        // The server says no: it is over. Anything else is tried again by `lose`.
        if (error && typeof error.code === 'number') this.end(error)
      })
  }

  end(reason) {
    if (this.isOver) return
    this.isOver = true
    this.isOpen = false
    clearInterval(this.heartbeat)
    clearTimeout(this.retry)
    Object.keys(this.waiting).forEach((id) => {
      clearTimeout(this.waiting[id].timer)
      this.waiting[id].reject(reason)
    })
    this.waiting = {}
    if (this.socket) this.socket.close({})
    this.callbacks.onClosed(reason)
  }
}

module.exports = { Signal }
