/** The WebSocket to a server's `/signal`: requests with answers, and events. Knows nothing of rooms or media. */

/** How long a request may take before it counts as failed, in milliseconds. */
const REQUEST_TIMEOUT_MS = 15_000

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

/** One connection. It closes once, and never opens again. */
export class Signaling {
  #socket
  #nextId = 1
  #isClosed = false
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: RoomcastError) => void, timer: number }>} */
  #waiting = new Map()

  /** Called with every event of the server. @type {(event: any) => void} */
  onEvent = () => {}
  /** Called once, when the connection is over. @type {(reason: RoomcastError) => void} */
  onClosed = () => {}

  /** @param {WebSocket} socket  open */
  constructor(socket) {
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => this.#onMessage(JSON.parse(data)))
    socket.addEventListener('close', ({ code }) =>
      this.close(new RoomcastError('connection-lost', `The connection to the server was lost (${code}).`, 'Check the network and join again.')),
    )
  }

  /**
   * @param {string | URL} url  `ws:` or `wss:`
   * @returns {Promise<Signaling>}
   * @throws {RoomcastError} `unreachable`
   */
  static open(url) {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url)
      const fail = () => reject(new RoomcastError('unreachable', `No answer from ${url}`, 'Check that the server runs and that this address leads to it.'))
      socket.addEventListener('close', fail, { once: true })
      socket.addEventListener(
        'open',
        () => {
          socket.removeEventListener('close', fail)
          resolve(new Signaling(socket))
        },
        { once: true },
      )
    })
  }

  /**
   * Sends a request and waits for its answer.
   * @param {string} type
   * @param {object} [fields]
   * @returns {Promise<any>} the fields of the answer
   * @throws {RoomcastError} with the server's code, or `closed`, or `timeout`
   */
  request(type, fields = {}) {
    if (this.#isClosed || this.#socket.readyState !== WebSocket.OPEN)
      return Promise.reject(new RoomcastError('closed', 'The connection to the server is closed.', 'Join again.'))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new RoomcastError('timeout', `The server did not answer "${type}" in time.`, 'Check the network and join again.'))
      }, REQUEST_TIMEOUT_MS)
      this.#waiting.set(id, { resolve, reject, timer })
      this.#socket.send(JSON.stringify({ id, type, ...fields }))
    })
  }

  /** Ends the connection and every request that still waits. @param {RoomcastError} reason */
  close(reason) {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.close()
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(reason)
    }
    this.#waiting.clear()
    this.onClosed(reason)
  }

  /** @param {any} message */
  #onMessage(message) {
    const waiting = this.#waiting.get(message.id)
    if (!waiting) return this.onEvent(message)
    this.#waiting.delete(message.id)
    clearTimeout(waiting.timer)
    if (message.type === 'ok') waiting.resolve(message)
    else waiting.reject(new RoomcastError(message.code, message.message, message.advice))
  }
}
