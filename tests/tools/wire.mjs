import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** A wire that can be cut: passes TCP on to the server, or breaks what there is and refuses what comes. */
export class Wire {
  #sockets = new Set()
  isCut = false
  refused = 0

  /** @param {string} where  host:port */
  static async to(where) {
    const [host, port] = where.split(':')
    const wire = new Wire()
    wire.listener = createServer((client) => {
      if (wire.isCut) {
        wire.refused++
        return client.resetAndDestroy()
      }
      const far = connect(Number(port), host)
      for (const socket of [client, far]) {
        wire.#sockets.add(socket)
        socket.on('error', () => {}).on('close', () => wire.#sockets.delete(socket))
      }
      client.pipe(far).pipe(client)
    })
    wire.listener.listen(0, '127.0.0.1')
    await once(wire.listener, 'listening')
    return wire
  }

  /** Host and port of this end. */
  get host() {
    return `localhost:${this.listener.address().port}`
  }

  cut() {
    this.isCut = true
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  mend() {
    this.isCut = false
  }

  close() {
    this.cut()
    this.listener.close()
  }
}
