/** A page around the component. In earnest your own server issues the ticket; the demo app of a roomcast gives one to everybody. */

/** Where your roomcast is. In the mini-program's console it has to be among the allowed domains, for request and socket. */
const SERVER = 'https://rooms.example.org:8443'

Page({
  data: { server: SERVER, ticket: null, said: [] },

  onLoad({ roomID = '1001' }) {
    const userID = `phone-${Math.random().toString(36).slice(2, 6)}`
    wx.request({
      url: `${SERVER}/demo/ticket?roomID=${encodeURIComponent(roomID)}&userID=${userID}`,
      success: ({ data }) => this.setData({ ticket: data }, () => this.selectComponent('#room').start()),
    })
  },

  onRoomEvent({ detail: { tag, code, detail } }) {
    if (tag === 'error') wx.showToast({ title: `${detail} (${code})`, icon: 'none' })
  },

  onIMEvent({ detail: { tag, detail } }) {
    if (tag === 'big_group_msg_notify') this.setData({ said: this.data.said.concat(`${detail.fromAccountNick}: ${detail.content}`).slice(-5) })
  },
})
