/** A page around `rtc-room`. */
const { SERVER, ask, complain } = require('../../server.js')

Page({
  data: { server: SERVER, ticket: null, role: 'enter', said: [] },

  onLoad({ roomID = '', role = 'enter' }) {
    ask(roomID, (ticket) => this.setData({ ticket, role }, () => this.selectComponent('#room').start()))
  },

  onRoomEvent({ detail: { tag, code, detail } }) {
    if (tag === 'error') complain(`${detail} (${code})`)
    if (tag === 'recvTextMsg') this.setData({ said: this.data.said.concat(`${detail.nickName}: ${detail.textMsg}`).slice(-5) })
    if (tag === 'roomClosed') wx.navigateBack()
  },
})
