/** The operator's console: the printed password opens it, and what it says and does is so. */

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Browser, Server, until } from './harness.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {import('playwright-core').Page} */ let page
const SHOTS = process.env.ROOMCAST_SHOTS ?? (await mkdtemp(join(tmpdir(), 'roomcast-shots-')))
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

before(async () => {
  server = await Server.start({ 'api.admin_key': 'a-secret-of-the-operator' })
  browser = await Browser.start({ viewport: { width: 1280, height: 800 } })
  page = await browser.page()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

const password = () => server.output.match(/Console .* password (\w+)/)?.[1] ?? assert.fail(`no password in:\n${server.output}`)

/** @param {string} name */
async function view(name) {
  await page.click(`.side a[href="#${name}"]`)
  await page.locator('.content h1').waitFor()
}

test('a wrong password is refused, and the printed one opens', async () => {
  await page.goto(`${server.origin}/console`)
  assert.equal(new URL(page.url()).pathname, '/console/')
  await page.fill('#password', 'guess')
  await page.keyboard.press('Enter')
  await page.locator('#login-problem', { hasText: 'not the password' }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-login.png') })
  await page.fill('#password', password())
  await page.keyboard.press('Enter')
  await page.locator('[data-fact="streams"] b', { hasText: '1' }).waitFor()
  const inside = await fetch(`http://${server.http}/console/api/state`)
  assert.deepEqual([inside.status, (await inside.json()).code], [401, 71011], 'without a session nothing is told')
})

test('the overview shows what there is and plots what flows', async () => {
  const member = await browser.peer(server, await server.ticket('mia', 42), { toneHz: 500 })
  await page.locator('[data-fact="streams"] b', { hasText: '2' }).waitFor()
  await page.locator('[data-fact="members"] b', { hasText: '2' }).waitFor()
  const plot = page.locator('.plot', { hasText: 'Received' })
  await plot.locator('.plot-value', { hasText: /[1-9]\d* kbit\/s|Mbit/ }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-overview.png') })
  await member.page.close()
})

test('rooms are locked and dissolved, members muted, kicked and spoken to', async () => {
  const member = await browser.peer(server, await server.ticket('nils', 43))
  const other = await browser.peer(server, await server.ticket('olga', 43), { toneHz: 500 })
  await view('rooms')
  const room = page.locator('[data-room="43"]')
  await room.getByText('Members').click()
  await page.locator('[data-member="nils"]').waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-rooms.png') })

  await page.locator('[data-member="olga"]').getByText('Mute').click()
  await member.event('muted', 'olga')
  await page.locator('[data-member="olga"]').getByText('Unmute').waitFor()
  await page.fill('.content form input', 'The room closes soon.')
  await page.keyboard.press('Enter')
  assert.equal((await member.message()).detail.text, 'The room closes soon.')
  await page.locator('[data-member="olga"]').getByText('Kick').click()
  await member.event('member-left', 'olga')
  await room.getByText('Lock').click()
  await room.getByText('locked').waitFor()
  await room.getByText('Dissolve').click()
  await page.click('#sure-yes')
  await room.waitFor({ state: 'detached' })
  await until(() => member.page.evaluate(() => window.peer.events.some(({ type, detail }) => type === 'closed' && detail.code === 73012)), 5000, 'the room being dissolved')
  for (const one of [member, other]) await one.page.close()
})

test('a stream is watched', async () => {
  await view('streams')
  await page.locator('[data-stream="1400000001_1001_teststream_main"]').getByText('Watch').click()
  await page.waitForFunction(() => document.querySelector('#watch-video').getVideoPlaybackQuality().totalVideoFrames > 20, null, { polling: 50 })
  await page.locator('#watch-plots .plot-value', { hasText: /[1-9]\d* kbit/ }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-watch.png') })
  await page.click('#watch-close')
})

test('a ticket that was issued here opens the room', async () => {
  await view('tickets')
  await page.locator('select option', { hasText: 'demo' }).waitFor({ state: 'attached' })
  await page.getByLabel('User').fill('zoe')
  await page.getByLabel(/^Room/).fill('77')
  await page.getByRole('button', { name: 'Issue' }).click()
  const of = async (/** @type {string} */ name) => (await page.locator(`[data-line="${name}"] code`).textContent()) ?? ''
  await page.locator('[data-line="userSig"]').waitFor()
  const ticket = { sdkAppID: 1400000001, userID: 'zoe', roomID: 77, userSig: await of('userSig'), privateMapKey: await of('privateMapKey') }
  await page.screenshot({ path: join(SHOTS, 'console-tickets.png') })
  const zoe = await browser.peer(server, ticket)
  assert.deepEqual(zoe.members, [])
  await zoe.page.close()
})

test('the log goes on, and no secret is in the settings', async () => {
  await view('log')
  await page.locator('.lines', { hasText: 'somebody logged in to the console' }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-log.png') })
  await view('config')
  const setting = page.locator('[data-setting="api.admin_key"]')
  await setting.getByText('hidden').waitFor()
  await page.screenshot({ path: join(SHOTS, 'console-config.png') })
  assert.ok(!(await page.content()).includes('a-secret-of-the-operator'))
})

test('axe has no serious finding in any view', async () => {
  const found = []
  await page.evaluate(AXE)
  for (const name of ['overview', 'rooms', 'streams', 'tickets', 'log', 'config']) {
    await view(name)
    for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
      for (const { id, impact, nodes } of violations) if (impact === 'serious' || impact === 'critical') found.push(`${name}, ${colorScheme}: ${id}: ${nodes[0].target}`)
    }
  }
  assert.deepEqual(found, [])
})

test('the password is printed at the first start only, and goes on opening', async () => {
  const first = await Server.start()
  try {
    const printed = first.output.match(/Console .* password (\w+)/)?.[1] ?? assert.fail(first.output)
    await first.restart()
    assert.doesNotMatch(first.output, new RegExp(`password \\w|${printed}`))
    const login = (/** @type {string} */ word) => fetch(`http://${first.http}/console/api/login`, { method: 'POST', body: JSON.stringify({ password: word }) })
    assert.deepEqual([(await login('guess')).status, (await login(printed)).ok], [401, true])
  } finally {
    await first.stop()
  }
})

test('whoever logs out is out, and whoever guesses too often waits', async () => {
  await page.click('#logout')
  await page.locator('#password').waitFor()
  const guess = () => fetch(`http://${server.http}/console/api/login`, { method: 'POST', body: JSON.stringify({ password: 'guess' }) })
  const statuses = []
  for (let n = 0; n < 7; n++) statuses.push((await guess()).status)
  assert.equal(statuses.at(-1), 429)
  await page.fill('#password', password())
  await page.keyboard.press('Enter')
  await page.locator('#login-problem', { hasText: 'wait a minute' }).waitFor()
})
