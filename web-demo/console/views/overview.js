/** The server at a glance: how much of everything, what flows, and the node with its shards. */

import { byId, element } from '../../parts/dom.js'
import { Plot, rate } from '../../parts/plot.js'
import { ask } from '../api.js'
import { duration, makeTable, row, size } from './parts.js'

const FACTS = { rooms: 'rooms', members: 'members', streams: 'streams', sessions: 'WHIP and WHEP', flvPlayers: 'FLV players', hlsPlayers: 'HLS players', transports: 'WebRTC connections', httpConnections: 'HTTP connections' }

/** @type {import('../console.js').MakeView} */
export function overviewView(content) {
  const cards = element('div', 'cards')
  const numbers = new Map(
    Object.entries(FACTS).map(([key, name]) => {
      const card = element('div', 'fact')
      const number = element('b', '', '–')
      card.append(number, element('span', '', name))
      card.dataset.fact = key
      cards.append(card)
      return [key, number]
    }),
  )
  const plots = {
    bytesIn: { name: 'Received', plot: new Plot(rate) },
    bytesOut: { name: 'Sent', plot: new Plot(rate) },
    packetsOut: { name: 'Packets sent', plot: new Plot((n) => `${Math.round(n)} /s`, 10) },
    dropped: { name: 'Packets dropped', plot: new Plot((n) => `${Math.round(n)} /s`, 10) },
    processor: { name: 'Processor', plot: new Plot((share) => `${Math.round(100 * share)} % of one core`, 0.1) },
    memory: { name: 'Memory', plot: new Plot(size, 64 * 2 ** 20) },
  }
  const group = element('div', 'plots')
  for (const { name, plot } of Object.values(plots)) {
    plot.setLabel(name)
    group.append(plot.element)
  }
  const nodes = makeTable(['Node', 'HTTP', 'HTTPS', 'RTMP', 'Media'], 'No node.')
  const shards = makeTable(['Shard', 'Connections', 'Tracks in', 'Tracks out', 'Packets in', 'Packets out', 'Sent again', 'Dropped'], 'No shard.')
  content.append(element('h1', '', 'Overview'), cards, group, element('h2', '', 'Nodes'), nodes.element, element('h2', '', 'Shards'), shards.element)

  /** @type {any} */ let before = null
  return {
    everyMs: 1000,
    async refresh() {
      const state = await ask('GET', '/console/api/state')
      const total = (/** @type {string} */ key) => state.shards.reduce((/** @type {number} */ sum, /** @type {any} */ shard) => sum + shard[key], 0)
      const now = { at: state.now, bytesIn: total('bytesIn'), bytesOut: total('bytesOut'), packetsOut: total('packetsOut'), dropped: total('dropped'), processor: state.processorSeconds ?? 0 }
      state.transports = total('transports')
      for (const [key, number] of numbers) number.textContent = String(state[key])
      if (before && now.at > before.at) {
        const seconds = (now.at - before.at) / 1000
        const perSecond = (/** @type {'bytesIn' | 'bytesOut' | 'packetsOut' | 'dropped' | 'processor'} */ key) => Math.max(0, (now[key] - before[key]) / seconds)
        plots.bytesIn.plot.add(8 * perSecond('bytesIn'))
        plots.bytesOut.plot.add(8 * perSecond('bytesOut'))
        plots.packetsOut.plot.add(perSecond('packetsOut'))
        plots.dropped.plot.add(perSecond('dropped'))
        plots.processor.plot.add(perSecond('processor'))
        plots.memory.plot.add(state.memoryBytes ?? 0)
      }
      before = now
      byId('uptime').textContent = `version ${state.version}, up ${duration((state.now - state.startedAt) / 1000)}`
      const { http, https, rtmp, media } = state.addresses
      nodes.fill([row('this one', http ?? 'off', https ?? 'off', rtmp ?? 'off', media.join(', '))])
      shards.fill(state.shards.map((/** @type {any} */ shard, /** @type {number} */ index) => row(index, shard.transports, shard.upTracks, shard.downTracks, shard.packetsIn, shard.packetsOut, shard.retransmissions, shard.dropped)))
    },
  }
}
