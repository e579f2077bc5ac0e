/** The demo page's lag meter, on pictures made up for it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { lagBetween } from '../../web-demo/parts/lag.js'

/** A ball that runs to and fro, seen at 25 pictures a second until `end`, as it was `lagMs` before. */
function ball(end, lagMs) {
  return Array.from({ length: 125 }, (_, n) => {
    const at = end - (124 - n) * 40
    const dots = new Float32Array(576)
    dots[Math.round(16 + 15 * Math.sin((at - lagMs) / 637)) + 32 * 9] = 765
    return { at, dots }
  })
}

test('a lag is found to within a picture', () => {
  for (const lagMs of [0, 120, 480, 1500]) assert.ok(Math.abs((lagBetween(ball(9000, 0), ball(9010, lagMs)) ?? NaN) - lagMs) <= 40, `${lagMs} ms`)
})

test('a still scene has no lag', () => {
  const still = ball(9000, 0).map(({ at }) => ({ at, dots: new Float32Array(576).fill(300) }))
  assert.equal(lagBetween(still, still), null)
})

test('without enough pictures there is no lag', () => {
  assert.equal(lagBetween([], ball(9000, 0)), null)
  assert.equal(lagBetween(ball(9000, 0), ball(9000, 0).slice(-3)), null)
})
