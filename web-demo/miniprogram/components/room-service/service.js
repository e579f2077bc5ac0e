/**
 * A roomcast server's room services for mini-programs, `/weapp/…`: RTMPRoom's and those of the MLVB live room. They say where to push and
 * what to play, and who pushes; messages go through `/signal` (../webrtc-room/signal.js).
 */

/** How long a request may take, in milliseconds. */
const REQUEST_MS = 10000

class RoomService {
  /** @param {string} server  https://host[:port], or wss: @param {'multi_room' | 'double_room' | 'live_room'} list */
  constructor(server, list) {
    this.base = `${server.replace(/^ws/, 'http').replace(/\/+$/, '')}/weapp/${list}`
    this.login = ''
  }

  /**
   * Begins a stay; everything else needs it.
   * @param {{ sdkAppID: number, userID: string, userSig: string, platform?: string }} who  `platform` chooses the MLVB live room's commands
   */
  enter({ sdkAppID, userID, userSig, platform }) {
    const fields = { sdkAppID, accountType: '0', userID, userSig }
    if (platform) fields.platform = platform
    return this.post(`login?${query(fields)}`, {}).then(({ token }) => {
      this.login = query({ userID, token })
    })
  }

  /** @param {string} command @param {object} [fields] @returns {Promise<any>} the answer; rejected with the service's `code` and `message` */
  ask(command, fields) {
    return this.post(`${command}?${this.login}`, fields || {})
  }

  post(path, data) {
    return new Promise((resolve, reject) => {
      wx.request({
        url: `${this.base}/${path}`,
        method: 'POST',
        data,
        header: { 'content-type': 'application/json' },
        timeout: REQUEST_MS,
        success: ({ data: answer, statusCode }) => {
          if (answer && answer.code === 0) return resolve(answer)
          reject({ code: answer && answer.code !== undefined ? answer.code : -1, message: (answer && answer.message) || `status ${statusCode}` })
        },
        fail: (error) => reject({ code: -1, message: (error && error.errMsg) || 'no answer' }),
      })
    })
  }
}

const query = (fields) => Object.keys(fields).map((name) => `${name}=${encodeURIComponent(fields[name])}`).join('&')

/** A number where it is one: room 1001 and room "1001" are the same, but the ticket is for the number. */
const roomName = (roomID) => (/^[1-9]\d*$/.test(String(roomID)) ? Number(roomID) : String(roomID))

module.exports = { RoomService, roomName }
