/** A page around `webrtc-room`. */
const { SERVER, ask, complain } = require('../../server.js')

Page({
  data: { server: SERVER, ticket: null, said: [] },

  onLoad({ roomID = '1001' }) {
    ask(roomID, (ticket) => this.setData({ ticket }, () => this.selectComponent('#room').start()))
  },

  onRoomEvent({ detail: { tag, code, detail } }) {
    if (tag === 'error') complain(`${detail} (${code})`)
  },

  onIMEvent({ detail: { tag, detail } }) {
    if (tag === 'big_group_msg_notify') this.setData({ said: this.data.said.concat(`${detail.fromAccountNick}: ${detail.content}`).slice(-5) })
  },
})
