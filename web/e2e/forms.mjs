// Forms: a mistake is named at its field and above the form, axe passes with the mistake on the page.
import { settled } from './lib.mjs'

const close = async (page) => {
  await page.keyboard.press('Escape')
  await page.waitForTimeout(300)
}

export async function formFlow(checks, page, url, shots) {
  await checks.run('form: setup page passes axe, also with mistakes', async () => {
    await page.goto(`${url}/setup#0123456789abcdef`)
    await page.waitForSelector('#setup-token')
    if ((await page.inputValue('#setup-token')) !== '0123456789abcdef') throw new Error('the token of the fragment is not taken')
    if (new URL(page.url()).hash) throw new Error('the token stays in the address bar')
    await page.click('button[type=submit]')
    await page.waitForSelector('#setup-password-problem')
    await checks.axe(page, shots, 'setup')
  })
  await checks.run('form: a device without a name is refused at the field; with one its secret is shown once', async () => {
    await page.goto(`${url}/admin/devices`)
    await settled(page)
    await page.locator('.tools .btn.primary').click()
    await page.waitForSelector('#device-code:focus')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#device-name-problem')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'device-form')
    await page.fill('#device-code', `E2E-${Date.now()}`)
    await page.fill('#device-name', '端到端测试设备')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#device-secret')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'secret')
    if (!(await page.inputValue('#device-secret'))) throw new Error('no secret is shown')
    await page.locator('.el-dialog .btn:visible').last().click()
    await page.waitForSelector('#device-secret', { state: 'hidden' })
  })
  await checks.run('form: limits out of order are refused at the field', async () => {
    await page.goto(`${url}/admin/points`)
    await settled(page)
    await page.locator('td.actions button').first().click()
    await page.fill('#point-h', '50')
    await page.fill('#point-hh', '25')
    await page.locator('.el-dialog button[type=submit]:visible').click()
    await page.waitForSelector('#point-hh-problem')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'point-form')
    await close(page)
  })
  await checks.run('form: a user needs a long enough password', async () => {
    await page.goto(`${url}/admin/users`)
    await settled(page)
    await page.locator('.tools .btn.primary').click()
    await page.waitForSelector('#user-username:focus')
    await page.keyboard.type('e2e-user')
    await page.fill('#user-name', '端到端')
    await page.fill('#user-password', 'short')
    await page.locator('.el-dialog button[type=submit]:visible').click()
    await page.waitForSelector('#user-password-problem')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'user-form')
    await close(page)
  })
}
