// A session that ends: the page stays lit, acting asks for the password, what was typed is still there.
import { settled, signIn } from './lib.mjs'

export async function sessionFlow(checks, page, url, user, password, shots) {
  await checks.run('session: an ended session keeps the page and the typed text, and goes on after the password', async () => {
    await page.goto(`${url}/alarms?state=raised`)
    await settled(page)
    await page.waitForSelector('[role=row][aria-rowindex="2"]', { timeout: 120_000 })
    await page.keyboard.press('j')
    await page.waitForSelector('.detail article h2')
    const id = new URL(page.url()).searchParams.get('id')
    await page.keyboard.press('a')
    await page.waitForSelector('#acknowledge-note:focus')
    await page.keyboard.type('会话结束前写下的说明')
    await page.context().clearCookies()
    await page.keyboard.press('Enter')
    await page.waitForSelector('#reauth-password:focus')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'reauth')
    await page.keyboard.type(password)
    await page.keyboard.press('Enter')
    await page.waitForFunction((note) => document.querySelector('.detail .log')?.textContent.includes(note), '会话结束前写下的说明', { timeout: 15_000 })
    if (new URL(page.url()).searchParams.get('id') !== id) throw new Error('the page changed')
  })
  await checks.run('session: signing out closes the door', async () => {
    await page.goto(`${url}/screen`)
    await settled(page)
    await page.click('.user > button')
    await page.locator('#user-menu button', { hasText: /退出登录|Sign out/ }).click()
    await page.waitForURL('**/sign-in**')
    await page.goto(`${url}/alarms`)
    await page.waitForURL('**/sign-in?next=/alarms')
    await signIn(page, url, user, password)
  })
}
