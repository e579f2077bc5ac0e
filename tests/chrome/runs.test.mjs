/** What a page publishes, with the padding and the numbers that its viewer's packets get: it is decoded, and reported on. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start({ 'media.shards': '1', 'demo.test_stream': 'false' })
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** The sum of a family. @param {string} name */
async function metric(name) {
  const text = await (await fetch(`http://${server.http}/metrics`)).text()
  return text.split('\n').filter((line) => line.startsWith(`${name}{`)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

for (const codec of ['H264', 'VP8']) {
  test(`${codec} of a page is decoded by another page, which reports what arrives`, async (t) => {
    const gunn = await browser.peer(server, await server.ticket('gunn', 1001), { codec, toneHz: 700, hue: 0 })
    const hild = await browser.peer(server, await server.ticket('hild', 1001))
    await hild.sees('gunn')
    await hild.hears('gunn', 700)
    const names = ['roomcast_packets_sent_total', 'roomcast_send_runs_total', 'roomcast_sent_bytes_total',
      'roomcast_viewer_packets_arrived_total', 'roomcast_viewer_packets_lost_total', 'roomcast_receive_runs_total',
      'roomcast_datagrams_received_total']
    const before = await Promise.all(names.map(metric))
    const view = await hild.sees('gunn', { changes: (await hild.page.evaluate(() => window.peer.sees('gunn').changes)) + 60 })
    assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)
    await until(async () => (await metric(names[3])) > before[3] + 200, 15000, 'reports of the viewer')
    const [packets, runs, bytes, arrived, lost, messages, datagrams] =
      (await Promise.all(names.map(metric))).map((now, i) => now - before[i])
    // Reports and checks are runs as well; pictures of a busy machine's encoder are small.
    t.diagnostic(`${codec}: ${(packets / runs).toFixed(2)} packets a run, ${(bytes / packets).toFixed(0)} bytes a packet, ` +
      `${(datagrams / messages).toFixed(2)} datagrams a receive`)
    assert.ok(packets > 0 && runs > 0)
    assert.ok(lost <= 1 + arrived / 20, `${lost} lost of ${arrived}`)
    for (const { page } of [gunn, hild]) await page.close()
  })
}
