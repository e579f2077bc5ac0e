/** The start: which room, and with which component. */
Page({
  data: { roomID: '1001' },

  onRoom({ detail }) {
    this.setData({ roomID: detail.value })
  },

  open({ currentTarget: { dataset } }) {
    const fields = [`roomID=${encodeURIComponent(this.data.roomID)}`, dataset.role ? `role=${dataset.role}` : '']
    wx.navigateTo({ url: `/pages/${dataset.page}/${dataset.page}?${fields.filter(Boolean).join('&')}` })
  },
})
