/** Two packet threads, one room: pages on both of them cannot tell. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start({ 'media.shards': '2', 'media.spread_packets_per_second': '0' })
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** The numbers of a family, one for each shard. @param {string} name */
async function shards(name) {
  const text = await (await fetch(`http://${server.http}/metrics`)).text()
  return text.split('\n').filter((line) => line.startsWith(`${name}{`)).map((line) => Number(line.split(' ').at(-1)))
}

test('three pages spread over two shards see and hear one another, and the test stream', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 1001), { codec: 'H264', toneHz: 700, hue: 0 })
  const bert = await browser.peer(server, await server.ticket('bert', 1001), { codec: 'H264', toneHz: 1300, hue: 220 })
  const carl = await browser.peer(server, await server.ticket('carl', 1001))
  await Promise.all([anna.sees('bert'), bert.sees('anna'), carl.sees('anna'), carl.sees('bert')])
  await Promise.all([anna.hears('bert', 1300), bert.hears('anna', 700), carl.hears('anna', 700), carl.hears('bert', 1300)])
  const views = await Promise.all([anna.sees('bert'), carl.sees('bert'), carl.sees('anna')])
  for (const view of views) assert.ok(view.spoilt <= 1 + view.good / 20, `${view.spoilt} spoilt of ${view.good} pictures`)

  // Shards publish their counters once a second.
  const transports = () => shards('roomcast_transports')
  assert.equal((await transports()).length, 2)
  await until(async () => (await transports()).every((number) => number > 0), 5000, 'connections on both shards')
  await until(async () => (await shards('roomcast_copies')).some((number) => number > 0), 5000, 'a copy')
  await until(async () => (await shards('roomcast_relayed_packets_total')).some((number) => number > 0), 5000, 'packets relayed')

  await bert.page.evaluate(() => window.peer.room.leave())
  await Promise.all([anna.event('member-left', 'bert'), carl.event('member-left', 'bert')])
  await carl.sees('anna', { changes: (await carl.page.evaluate(() => window.peer.sees('anna').changes)) + 10 })
  for (const { page } of [anna, bert, carl]) await page.close()
})
