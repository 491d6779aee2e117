// Every route, both themes, both languages, desk and phone: it opens, axe finds nothing, nothing sticks out sideways.
import { setLocale, setTheme, settled } from './lib.mjs'

export const DUTY_ROUTES = ['/duty', '/screen', '/screen?view=list', '/alarms', '/monitor', '/vehicles', '/road', '/verify']
export const ADMIN_ROUTES = ['/admin/devices', '/admin/points', '/admin/combinations', '/admin/rules', '/admin/packs', '/admin/users', '/admin/datasets', '/admin/audit', '/admin/holds', '/admin/retention', '/admin/quarantine', '/admin/events', '/whistleblow/holders', '/network', '/network/rates', '/network/rates?rate=built', '/network/proofs', '/network/orders', '/network/transfers', '/network/submissions', '/network/submissions?outcome=failed', '/leaders', '/leaders?as_of=2013-12-31', '/responsibility', '/responsibility?finding=late', '/responsibility/assessments', '/plan', '/plan?as_of=2013-12-31&state=off_path', '/plan/targets/G01?as_of=2015-12-31', '/plan/report?as_of=2013-12-31', '/plan/indicators?as_of=2015-12-31', '/plan/facts', '/plan/decisions', '/plan/history', '/documents/new', '/registers/official_document']
/** "No such page" passes axe too. */
async function isThere(page, route) {
  if (await page.locator('.not-found').count()) throw new Error(`there is no page ${route}`)
}

const nameOf = (route) => route.slice(1).replace(/[/?=&]/g, '-')

/** Opens a row where the page has one, so that the details are looked at too. */
async function open(page, route) {
  if (route === '/alarms') await page.locator('[role=row][aria-rowindex="2"]').click({ timeout: 5000 }).catch(() => {})
  if (route === '/vehicles') await page.locator('[role=row][aria-rowindex="2"]').click({ timeout: 5000 }).catch(() => {})
  if (route === '/monitor') {
    await page.locator('button.enterprise').first().click({ timeout: 5000 }).catch(() => {})
    await page.locator('button.point').first().click({ timeout: 5000 }).catch(() => {})
  }
  await page.waitForTimeout(600)
}

export async function pages(checks, page, url, shots, routes) {
  // Each route in both themes and both languages: contrast does not depend on words, nor words on colours. The widths below are light and Chinese.
  for (const [dark, locale] of [[true, 'zh-CN'], [false, 'en']]) {
    for (const route of routes) {
      const name = `${nameOf(route)}-${dark ? 'dark' : 'light'}-${locale}`
      await checks.run(`page ${name} passes axe`, async () => {
        await setTheme(page, dark)
        await setLocale(page, locale)
        await page.goto(url + route)
        await settled(page)
        await isThere(page, route)
        await open(page, route)
        await settled(page)
        await checks.axe(page, shots, name)
      })
    }
  }
  for (const [width, height] of [[390, 844], [1366, 768]]) {
    await page.setViewportSize({ width, height })
    await setLocale(page, 'zh-CN')
    for (const route of routes) {
      await checks.run(`page ${nameOf(route)} fits ${width} px`, async () => {
        await page.goto(url + route)
        await settled(page)
        await isThere(page, route)
        const over = await page.evaluate(() => {
          const main = document.querySelector('main')
          return Math.max(document.documentElement.scrollWidth - innerWidth, main.scrollWidth - main.clientWidth)
        })
        await checks.axe(page, shots, `${nameOf(route)}-${width}`)
        if (over > 1) throw new Error(`${over} px wider than the window`)
      })
    }
  }
  await page.setViewportSize({ width: 1920, height: 1080 })
  await setTheme(page, true)
}
