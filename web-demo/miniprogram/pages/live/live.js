/** A page around `mlvb-live-room`: the anchor's, and the audience's. */
const { SERVER, ask, complain } = require('../../server.js')

Page({
  data: { server: SERVER, ticket: null, role: 'audience', isLinked: false, said: [] },

  onLoad({ roomID = '', role = 'audience' }) {
    ask(roomID, (ticket) => this.setData({ ticket, role }, () => this.room().start()))
  },

  room() {
    return this.selectComponent('#room')
  },

  onStage() {
    if (this.data.isLinked) this.room().quitJoinAnchor()
    else this.room().requestJoinAnchor()
  },

  onRoomEvent({ detail: { tag, code, detail } }) {
    switch (tag) {
      case 'error':
        return complain(`${detail} (${code})`)
      case 'requestJoinAnchor':
        return wx.showModal({
          title: `${detail.userName} wants to come on the stage`,
          success: ({ confirm }) => (confirm ? this.room().acceptJoinAnchor(detail) : this.room().rejectJoinAnchor(detail)),
        })
      case 'linkOn':
      case 'linkOut':
        return this.setData({ isLinked: tag === 'linkOn' })
      case 'recvTextMsg':
        return this.setData({ said: this.data.said.concat(`${detail.nickName}: ${detail.textMsg}`).slice(-5) })
      case 'roomClosed':
        return wx.navigateBack()
    }
  },
})
