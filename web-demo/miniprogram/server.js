/** Where your roomcast is. In the mini-program's console it has to be among the allowed domains, for request and socket. */
const SERVER = 'https://rooms.example.org:8443'

/**
 * Asks for a ticket under a name of its own. In earnest your own server issues it; the demo app of a roomcast gives one to everybody.
 * @param {string} roomID @param {(ticket: object) => void} done
 */
function ask(roomID, done) {
  const userID = `phone_${Math.random().toString(36).slice(2, 6)}`
  wx.request({
    url: `${SERVER}/demo/ticket?roomID=${encodeURIComponent(roomID)}&userID=${userID}`,
    success: ({ data, statusCode }) => (statusCode === 200 ? done(data) : complain(data && data.message)),
    fail: ({ errMsg }) => complain(errMsg),
  })
}

const complain = (text) => wx.showToast({ title: text || 'the server does not answer', icon: 'none' })

module.exports = { SERVER, ask, complain }
