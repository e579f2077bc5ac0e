/** What the documentation tells people to do works: its programs make tickets that the server takes, and its site is readable. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { Browser, Server } from './harness.mjs'

/** @type {Server} */ let server
/** @type {string} */ let folder
const PAGE = await readFile(new URL('../../docs/tickets.md', import.meta.url), 'utf8')
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const SHOTS = process.env.ROOMCAST_SHOTS ?? (await mkdtemp(join(tmpdir(), 'roomcast-shots-')))

before(async () => {
  server = await Server.start()
  folder = await mkdtemp(join(tmpdir(), 'roomcast-docs-'))
})
after(async () => {
  await server?.stop()
  await rm(folder, { recursive: true })
})

/** How each program of the page is run. @type {[language: string, file: string, program: string, arguments: string[]][]} */
const LANGUAGES = [
  ['js', 'sign.mjs', 'node', []],
  ['python', 'sign.py', 'python3', []],
  ['java', 'Sign.java', 'java', []],
  ['php', 'sign.php', 'php', []],
  ['go', 'sign.go', 'go', ['run']],
]

const USER = 'alice-1'

for (const [language, file, program, words] of LANGUAGES)
  test(`the page's ${language} program makes tickets that the server takes`, { skip: !exists(program) && `there is no ${program} here` }, async () => {
    const code = PAGE.match(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``))?.[1] ?? assert.fail(`no ${language} on the page`)
    await writeFile(join(folder, file), code)
    const sign = async (/** @type {string} */ room) => {
      const out = execFileSync(program, [...words, join(folder, file), '1400000001', await server.secret(), USER, room], { encoding: 'utf8', env: { ...process.env, GOCACHE: join(folder, 'go') } })
      const [userSig, privateMapKey] = out.trim().split('\n')
      return { userSig, privateMapKey }
    }
    const numbered = await sign('1001')
    assert.equal(await status('1001', numbered), 200)
    const named = await sign('lobby')
    // A wrong session description is the only thing that is left to say.
    assert.equal(await whipCode('lobby', named), 74000)
    // And it is the ticket that opened the door.
    assert.equal(await status('1001', { ...numbered, userSig: numbered.userSig.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')).slice(0, -4) }), 401)
    assert.notEqual(await whipCode('lobby', { ...named, privateMapKey: numbered.privateMapKey }), 74000)
  })

/** The answer to a player of the test stream who shows a ticket. @param {string} room @param {{ userSig: string, privateMapKey: string }} ticket */
async function status(room, { userSig, privateMapKey }) {
  const query = new URLSearchParams({ userid: USER, usersig: userSig, privatemapkey: privateMapKey })
  // A connection of its own: some of the programs take so long to compile that the server has closed a kept one.
  const asking = request(`http://${server.http}/live/1400000001_${room}_teststream_main.flv?${query}`, { agent: false })
  asking.end()
  const [response] = await once(asking, 'response')
  response.destroy()
  return response.statusCode
}

/** @param {string} room @param {{ userSig: string, privateMapKey: string }} ticket */
async function whipCode(room, { userSig, privateMapKey }) {
  const query = new URLSearchParams({ sdkappid: '1400000001', privatemapkey: privateMapKey })
  const headers = { Authorization: `Bearer ${userSig}`, 'Content-Type': 'application/sdp' }
  const asking = request(`http://${server.http}/whip/${room}/${encodeURIComponent(USER)}?${query}`, { method: 'POST', headers, agent: false })
  asking.end('nonsense')
  const [response] = await once(asking, 'response')
  return JSON.parse((await response.toArray()).join('')).code
}

/** @param {string} program */
function exists(program) {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`])
    return true
  } catch {
    return false
  }
}

test('the site leads from the page to every page of the documentation, and axe has no serious finding there', async (t) => {
  const browser = await Browser.start({ viewport: { width: 1280, height: 900 } })
  t.after(() => browser.stop())
  const page = await browser.page()
  await page.goto(`${server.origin}/?roomID=1001`)
  await page.click('.top-links a[href="/docs/"]')
  await page.locator('h1', { hasText: 'First room' }).waitFor()
  await page.screenshot({ path: join(SHOTS, 'docs.png') })
  const addresses = await page.locator('.contents a').evaluateAll((links) => links.map((link) => link.href))
  assert.ok(addresses.length >= 12, addresses.join())
  const found = []
  for (const address of addresses) {
    const response = await page.goto(address)
    assert.equal(response?.status(), 200, address)
    await page.evaluate(AXE)
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
    for (const { id, impact, nodes } of violations) if (impact === 'serious' || impact === 'critical') found.push(`${address}: ${id}: ${nodes[0].target}`)
  }
  await page.setViewportSize({ width: 390, height: 844 })
  await page.goto(`${server.origin}/docs/tickets`)
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390)
  await page.screenshot({ path: join(SHOTS, 'docs-phone.png') })
  assert.deepEqual(found, [])
})
