// Drives the built console in a real Chromium against a running server.
//   node web/e2e/run.mjs --url http://127.0.0.1:8080 --user U --password P [--admin A --admin-password P] [--register R --register-password P] [--people JSON] [--shots DIR] [--only WORD]
// --user handles alarms (a duty officer), --admin manages (defaults to --user), --register works on registers (a supervisor;
// without one these checks are left out), --people the users of a demo's ready line (holders with their passphrases).
// Signs in, opens every route in both themes and both languages with axe, at desk and phone width, then handles an alarm
// by keyboard. Ends with `N passed, N failed`; exit 1 on a failure. Needs chromium (or $CHROMIUM) and a CJK font.
import { mkdir } from 'node:fs/promises'
import { chromium } from 'playwright-core'
import { alarmFlow } from './alarm.mjs'
import { Checks, option, signIn } from './lib.mjs'
import { documentFlow } from './document.mjs'
import { formFlow } from './forms.mjs'
import { linkFlow } from './link.mjs'
import { ADMIN_ROUTES, DUTY_ROUTES, pages } from './pages.mjs'
import { publicFlow } from './public.mjs'
import { REGISTER_ROUTES, apiFlow, certificateFlow, enterpriseFlow, homeFlow, packFlow, registerFlow } from './register.mjs'
import { sessionFlow } from './session.mjs'
import { whistleblowFlow } from './whistleblow.mjs'

const url = option('url')
const user = option('user')
const password = option('password')
const admin = { name: option('admin') ?? user, password: option('admin-password') ?? password }
const register = { name: option('register'), password: option('register-password') }
if (!url || !user || !password) {
  console.error('usage: node web/e2e/run.mjs --url URL --user NAME --password WORD [--shots DIR] [--only WORD]')
  process.exit(2)
}
const people = Object.fromEntries(JSON.parse(option('people') ?? '[]').map((one) => [one.name, one]))
const shots = option('shots')
if (shots) await mkdir(shots, { recursive: true })
const checks = new Checks(option('only'))
// Flags proven for WebGL2 without a GPU.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
})
const context = await browser.newContext({ viewport: { width: 1920, height: 1080 }, locale: 'zh-CN', timezoneId: 'Europe/Berlin', ignoreHTTPSErrors: true })
// A page hands its map out only when it finds this flag.
await context.addInitScript(() => (window.anlanE2e = true))
const page = await context.newPage()
const faults = []
page.on('pageerror', (error) => faults.push(`page error: ${error.message}`))
page.on('console', (message) => {
  // A refused request is the server's answer, which some checks provoke.
  if (message.type() === 'error' && !/^Failed to load resource|^WebSocket connection to/.test(message.text())) faults.push(`console: ${message.text()}`)
})
try {
  await publicFlow(checks, browser, url, shots)
  await checks.run('sign-in refuses a wrong password and says so', async () => {
    await page.goto(`${url}/sign-in`)
    await page.fill('#signin-username', user)
    await page.fill('#signin-password', `${password}-wrong`)
    await page.click('button[type=submit]')
    await page.waitForSelector('[role=alert]')
  })
  await checks.run('sign-in page passes axe', () => checks.axe(page, shots, 'sign-in'))
  await checks.run('sign-in opens the screen', () => signIn(page, url, user, password))
  await pages(checks, page, url, shots, DUTY_ROUTES)
  await alarmFlow(checks, page, url, shots)
  await linkFlow(checks, page, url, shots)
  await sessionFlow(checks, page, url, user, password, shots)
  if (register.name && register.password) {
    await checks.run('sign-in as who works on registers', async () => {
      await page.context().clearCookies()
      await signIn(page, url, register.name, register.password)
    })
    await pages(checks, page, url, shots, REGISTER_ROUTES)
    await registerFlow(checks, page, url, shots)
    await certificateFlow(checks, page, url, shots)
    await homeFlow(checks, page, url, shots)
    await enterpriseFlow(checks, page, url, shots)
    await apiFlow(checks, page, url, shots)
  }
  if (people.legal) await whistleblowFlow(checks, browser, page, url, shots, people)
  if (people.legal && people.leader) await documentFlow(checks, page, url, shots, people)
  await checks.run('sign-in as the administrator', async () => {
    await page.context().clearCookies()
    await signIn(page, url, admin.name, admin.password)
  })
  await pages(checks, page, url, shots, ADMIN_ROUTES)
  await formFlow(checks, page, url, shots)
  if (register.name) await packFlow(checks, page, url, shots)
  await checks.run('no script error and no refused resource on any page', () => {
    if (faults.length) throw new Error([...new Set(faults)].slice(0, 10).join('\n    '))
  })
} finally {
  await browser.close()
}
checks.end()
