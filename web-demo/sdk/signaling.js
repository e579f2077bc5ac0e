/**
 * The WebSocket to a server's `/signal`: requests with answers, and events. When it breaks another one takes its place, and what was
 * missed is made up for. Knows nothing of rooms or media.
 */

/** How long a request may take before it counts as failed, in milliseconds. */
const REQUEST_TIMEOUT_MS = 15_000
/** A connection on which nothing comes back for so long after a heartbeat is taken for broken, in milliseconds. */
const SILENCE_MAX_MS = 5_000
/** How long opening a connection may take, in milliseconds. */
const OPEN_TIMEOUT_MS = 5_000
/** Time before the second try to reconnect, in milliseconds; it doubles with every try. The first is made at once. */
const BACKOFF_MIN_MS = 250
const BACKOFF_MAX_MS = 2_000
/** How much longer than the server's grace time it is tried: the server may notice the loss later than we do. In milliseconds. */
const GRACE_EXTRA_MS = 10_000
/** How long it is tried where we may also enter anew: servers are restarted, and trains leave tunnels. In milliseconds. */
const COMEBACK_MAX_MS = 300_000
/** The server's code for somebody whom it does not know any more. */
const FORGOTTEN = 73025
/** Refusals that pass by themselves: too many tries, too many joins, and a server that is starting, stopping or out of breath. */
const PASSING = new Set(['timeout', 71007, 71009, 74002, 74004, 74005, 75003])

/** What went wrong, with a code that the documentation lists and one sentence on what to do about it. */
export class RoomcastError extends Error {
  /**
   * @param {number | string} code  a number from the server, a word from this library or the browser
   * @param {string} message
   * @param {string} [advice]
   */
  constructor(code, message, advice = '') {
    super(message)
    this.name = 'RoomcastError'
    this.code = code
    this.advice = advice
  }

  /** Any thrown value as an error of ours. @param {unknown} error @returns {RoomcastError} */
  static from(error) {
    if (error instanceof RoomcastError) return error
    const { name = 'error', message = String(error) } = /** @type {Error} */ (error)
    return new RoomcastError(name, message, 'Leave and join again. If it happens again, report it with this text.')
  }
}

/**
 * How to enter anew when the server has forgotten us: it was restarted, or we were away for too long.
 * @typedef {object} Comeback
 * @property {() => void} forgotten  called once, before; every request that waited has failed
 * @property {() => Promise<object>} fields  of `enter`
 * @property {(answer: any) => void} entered  called with the answer, before anything else arrives
 */

/**
 * A conversation with the server over one WebSocket after another. Every message of the server has a number, so that the next
 * WebSocket begins where the last one broke.
 */
export class Signaling {
  #url
  /** @type {WebSocket} */ #socket
  /** Requests go out; otherwise they wait for the next WebSocket. */ #isConnected = true
  #isClosed = false
  #nextId = 1
  /** Of the last message that arrived. */ #seq = 0
  #resumeToken = ''
  #resumeMs = 0
  /** When the last message arrived, on the page's clock. */ #heardAt = 0
  /** @type {Map<number, { text: string, isSent: boolean, resolve: (answer: any) => void, reject: (error: RoomcastError) => void, timer: number }>} */
  #waiting = new Map()
  /** The server does not know us any more, and we are not in again yet. */ #isForgotten = false

  /** Called with every event of the server. @type {(event: any) => void} */
  onEvent = () => {}
  /** Called when the connection broke, and when it stands again. @type {(state: 'reconnecting' | 'connected') => void} */
  onConnection = () => {}
  /** Without, a conversation that cannot be resumed is over. @type {Comeback | null} */
  comeback = null
  /** Called once, when it is over. @type {(reason: RoomcastError) => void} */
  onClosed = () => {}

  /** Use [`Signaling.open`]. @param {string | URL} url @param {WebSocket} socket  open */
  constructor(url, socket) {
    this.#url = url
    this.#socket = socket
    this.#attach(socket)
  }

  /**
   * @param {string | URL} url  `ws:` or `wss:`
   * @returns {Promise<Signaling>}
   * @throws {RoomcastError} `unreachable`
   */
  static async open(url) {
    return new Signaling(url, await openSocket(url))
  }

  /**
   * Sends a request and waits for its answer, across broken connections if need be.
   * @param {string} type
   * @param {object} [fields]
   * @returns {Promise<any>} the fields of the answer
   * @throws {RoomcastError} with the server's code, or `closed`, or `timeout`
   */
  request(type, fields = {}) {
    if (this.#isClosed) return Promise.reject(new RoomcastError('closed', 'The connection to the server is closed.', 'Join again.'))
    const id = this.#nextId++
    return this.#ask(id, type, JSON.stringify({ id, type, ...fields }), this.#isConnected)
  }

  /** Requests go out at once. */
  get isConnected() {
    return this.#isConnected
  }

  /** Sends a heartbeat. If nothing at all comes back in time the connection counts as broken, whatever the system says of it. */
  async beat() {
    if (!this.#isConnected) return
    const [socket, sentAt] = [this.#socket, performance.now()]
    setTimeout(() => {
      if (this.#heardAt < sentAt && this.#isConnected && socket === this.#socket) this.#lose()
    }, SILENCE_MAX_MS)
    await this.request('heartbeat')
  }

  /** Ends the conversation and every request that still waits. @param {RoomcastError} reason */
  close(reason) {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.close()
    this.#fail(reason)
    this.onClosed(reason)
  }

  /** Ends every request that waits. @param {RoomcastError} reason */
  #fail(reason) {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(reason)
    }
    this.#waiting.clear()
  }

  /** @param {number} id @param {string} type @param {string} text @param {boolean} isSent  now, and not only after a reconnection */
  #ask(id, type, text, isSent) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { text, isSent, resolve, reject, timer: 0 })
      this.#arm(id, type)
      if (isSent) this.#socket.send(text)
    })
  }

  /** Gives a request its time. @param {number} id @param {string} type */
  #arm(id, type) {
    const waiting = this.#waiting.get(id)
    if (!waiting) return
    clearTimeout(waiting.timer)
    waiting.timer = setTimeout(() => {
      this.#waiting.delete(id)
      waiting.reject(new RoomcastError('timeout', `The server did not answer "${type}" in time.`, 'Check the network and join again.'))
    }, REQUEST_TIMEOUT_MS)
  }

  /** @param {WebSocket} socket */
  #attach(socket) {
    socket.addEventListener('message', ({ data }) => {
      if (socket === this.#socket && !this.#isClosed) this.#onMessage(JSON.parse(data))
    })
    socket.addEventListener('close', ({ code }) => {
      if (socket === this.#socket) this.#lose(code)
    })
  }

  /** @param {any} message */
  #onMessage(message) {
    this.#heardAt = performance.now()
    if (message.seq !== undefined) this.#seq = message.seq
    const waiting = this.#waiting.get(message.id)
    if (!waiting) return this.onEvent(message)
    this.#waiting.delete(message.id)
    clearTimeout(waiting.timer)
    if (message.resumeToken) {
      // From here on messages are numbered, and before the next one arrives this has to be known.
      this.#resumeToken = message.resumeToken
      this.#resumeMs = message.resumeSeconds * 1000
      this.#seq = 0
    }
    if (message.type === 'ok') waiting.resolve(message)
    else waiting.reject(new RoomcastError(message.code, message.message, message.advice))
  }

  /** The WebSocket is broken. @param {number} [code] */
  #lose(code) {
    if (this.#isClosed || !this.#isConnected) return
    const lost = new RoomcastError('connection-lost', `The connection to the server was lost${code ? ` (${code})` : ''}.`, 'Check the network and join again.')
    if (!this.#resumeToken && !this.comeback) return this.close(lost)
    this.#isConnected = false
    this.onConnection('reconnecting')
    this.#reconnect(lost).catch((reason) => this.close(reason))
  }

  /** Tries until it succeeds. @param {RoomcastError} lost  thrown when it was tried for long enough */
  async #reconnect(lost) {
    const until = performance.now() + (this.comeback ? COMEBACK_MAX_MS : this.#resumeMs + GRACE_EXTRA_MS)
    for (let wait = 0; !this.#isClosed; wait = Math.min(Math.max(2 * wait, BACKOFF_MIN_MS), BACKOFF_MAX_MS)) {
      // Not all at the same moment, when a server comes back to many.
      await wokenOrAfter(wait * (0.8 + 0.4 * Math.random()))
      if (performance.now() > until) throw lost
      const socket = await openSocket(this.#url).catch(() => null)
      if (!socket) continue
      if (this.#isClosed) return socket.close()
      if (await this.#takeUp(socket)) return
    }
  }

  /**
   * Begins on this WebSocket where the last one broke, or anew if the server does not know us any more.
   * @param {WebSocket} socket @returns {Promise<boolean>} false if it broke too
   * @throws {RoomcastError} the server does not take us back
   */
  async #takeUp(socket) {
    this.#socket.close()
    this.#socket = socket
    this.#attach(socket)
    let resumed = null
    try {
      if (this.#isForgotten || !this.#resumeToken) throw new RoomcastError(FORGOTTEN, 'The server does not know this side any more.', 'Join again.')
      resumed = await this.#first(socket, 'resume', { resumeToken: this.#resumeToken, seq: this.#seq })
      if (!resumed) return false
      this.#isConnected = true
    } catch (error) {
      if (/** @type {RoomcastError} */ (error).code !== FORGOTTEN || !this.comeback) throw error
      if (!(await this.#comeBack(socket, this.comeback))) return false
    }
    for (const [id, waiting] of [...this.#waiting].sort(([a], [b]) => a - b)) {
      this.#arm(id, JSON.parse(waiting.text).type)
      // What was asked meanwhile, and what was asked before and never arrived.
      if (waiting.isSent && !(resumed && id > resumed.lastRequest)) continue
      waiting.isSent = true
      socket.send(waiting.text)
    }
    this.onConnection('connected')
    return true
  }

  /**
   * Enters anew. What was asked before is lost, and nobody knows whether it was done.
   * @param {WebSocket} socket @param {Comeback} comeback @returns {Promise<boolean>} false if the connection broke
   * @throws {RoomcastError} we may not enter any more
   */
  async #comeBack(socket, comeback) {
    if (!this.#isForgotten) {
      this.#isForgotten = true
      this.#fail(new RoomcastError('connection-lost', 'The connection was lost before the answer came.', 'Try again.'))
      comeback.forgotten()
    }
    // A ticket that cannot be had now may be had in a moment.
    const fields = await comeback.fields().catch(() => null)
    const entered = fields && (await this.#first(socket, 'enter', fields))
    if (!entered || this.#isClosed) return false
    this.#isForgotten = false
    this.#isConnected = true
    comeback.entered(entered)
    return true
  }

  /**
   * Asks the first thing on a new WebSocket.
   * @param {WebSocket} socket @param {string} type @param {object} fields
   * @returns {Promise<any>} the answer; null if the WebSocket broke too, or it has to be tried again later
   */
  async #first(socket, type, fields) {
    const id = this.#nextId++
    const broke = new Promise((resolve) => socket.addEventListener('close', () => resolve(null), { once: true }))
    const answer = this.#ask(id, type, JSON.stringify({ id, type, ...fields }), true)
    const outcome = await Promise.race([answer, broke]).catch((error) => (PASSING.has(error.code) ? null : Promise.reject(error)))
    if (outcome) return outcome
    answer.catch(() => {})
    clearTimeout(this.#waiting.get(id)?.timer)
    this.#waiting.delete(id)
    return null
  }
}

/**
 * @param {string | URL} url @returns {Promise<WebSocket>} open
 * @throws {RoomcastError} `unreachable`
 */
function openSocket(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    const timer = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS)
    const fail = () => {
      clearTimeout(timer)
      reject(new RoomcastError('unreachable', `No answer from ${url}`, 'Check that the server runs and that this address leads to it.'))
    }
    socket.addEventListener('close', fail, { once: true })
    socket.addEventListener(
      'open',
      () => {
        clearTimeout(timer)
        socket.removeEventListener('close', fail)
        resolve(socket)
      },
      { once: true },
    )
  })
}

/** Waits, but no longer than until the browser says that there is a network again. @param {number} ms */
function wokenOrAfter(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      removeEventListener('online', done)
      resolve(undefined)
    }
    const timer = setTimeout(done, ms)
    addEventListener('online', done)
  })
}
