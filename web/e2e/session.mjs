// A session that ends: the page stays lit, acting asks for the password, what was typed is still there.
import { settled, signIn } from './lib.mjs'

export async function sessionFlow(checks, page, url, user, password, shots) {
  await checks.run('session: an ended session keeps the page and the typed text, and goes on after the password', async () => {
    await page.goto(`${url}/admin/devices`)
    await settled(page)
    const add = page.locator('.tools .btn.primary')
    await add.click()
    await page.fill('#device-code', `E2E-${Date.now()}`)
    await page.fill('#device-name', '端到端测试设备')
    await page.context().clearCookies()
    await page.locator('.el-dialog button[type=submit]:visible').click()
    await page.waitForSelector('#reauth-password')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'reauth')
    await page.fill('#reauth-password', password)
    await page.keyboard.press('Enter')
    await page.waitForSelector('#device-secret', { timeout: 15_000 })
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'secret')
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
