// What the specs share: options, counting, axe, sign-in, theme and language.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const axeSource = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export function option(name) {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}

export class Checks {
  passed = 0
  failed = 0
  constructor(only) {
    this.only = only
  }
  /** Runs one named check; a failure is printed and counted, and the rest goes on. */
  async run(name, body) {
    if (this.only && !name.includes(this.only) && !name.startsWith('sign-in')) return
    const started = Date.now()
    try {
      await body()
      this.passed++
      console.log(`ok    ${name} (${Date.now() - started} ms)`)
    } catch (error) {
      this.failed++
      console.log(`FAIL  ${name}\n    ${String(error.message ?? error).split('\n').slice(0, 12).join('\n    ')}`)
    }
  }
  /** axe over the page as it stands; a picture first, if wanted. */
  async axe(page, shots, name) {
    if (shots) await page.screenshot({ path: join(shots, `${name}.png`) })
    // Through the protocol, so that the page's own CSP stays as strict as in use.
    await page.evaluate(axeSource)
    const violations = await page.evaluate(async () => {
      const result = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
      return result.violations.map((v) => `${v.id} (${v.impact}): ${v.nodes.length} × ${v.nodes.slice(0, 2).map((n) => `${n.target.join(' ')} ${n.any[0]?.message ?? n.all[0]?.message ?? ''}`).join(' | ')}`)
    })
    if (violations.length) throw new Error(violations.join('\n'))
  }
  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`)
    process.exitCode = this.failed ? 1 : 0
  }
}

export async function signIn(page, url, user, password) {
  await page.goto(`${url}/sign-in`)
  await page.fill('#signin-username', user)
  await page.fill('#signin-password', password)
  await page.click('button[type=submit]')
  // The screen for who watches, the week for everybody else.
  await page.waitForURL(/\/(screen|home|leaders)$/)
}

export const setTheme = (page, dark) => page.evaluate((d) => localStorage.setItem('anlan.theme', d ? 'dark' : 'light'), dark)
export const setLocale = (page, locale) => page.evaluate((l) => localStorage.setItem('anlan.locale', l), locale)

/** Until the page shows data: no skeleton, and the map (if any) has drawn. */
export async function settled(page) {
  await page.waitForSelector('main#main h1')
  await page.waitForFunction(() => !document.querySelector('[aria-busy=true]'), null, { timeout: 20_000 })
  const hasMap = await page.locator('.maplibregl-canvas').count()
  if (hasMap) await page.waitForFunction(() => window.anlanMap?.loaded(), null, { timeout: 30_000 }).catch(() => {})
  await page.waitForTimeout(400)
}
