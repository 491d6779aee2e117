// The main job by keyboard alone: find the alarm, acknowledge it, see it acknowledged; be refused to close what still stands.
import { settled } from './lib.mjs'

const rowState = (page, id) => page.locator(`#alarm-${id} .state`).innerText()

export async function alarmFlow(checks, page, url, shots) {
  let id = ''
  await checks.run('alarm: g a opens the list, j selects a row', async () => {
    await page.goto(`${url}/screen`)
    await settled(page)
    await page.keyboard.press('g')
    await page.keyboard.press('a')
    await page.waitForURL('**/alarms**')
    await page.goto(`${url}/alarms?state=raised`)
    await settled(page)
    await page.waitForSelector('[role=row][aria-rowindex="2"]', { timeout: 120_000 })
    await page.keyboard.press('j')
    await page.waitForSelector('[role=row][aria-selected=true]')
    id = new URL(page.url()).searchParams.get('id') ?? ''
    if (!id) throw new Error('the selected alarm is not in the URL')
    await page.waitForSelector('.detail article h2')
  })
  await checks.run('alarm: the source of the limit and the trend are shown', async () => {
    const text = await page.locator('.detail article').innerText()
    if (!text.includes('限值来源')) throw new Error('no source of the limit')
    await page.waitForSelector('.detail article [role=img], .detail article .state', { timeout: 10_000 })
  })
  await checks.run('alarm: a opens the dialog, axe passes, Enter acknowledges', async () => {
    await page.keyboard.press('a')
    await page.waitForSelector('#acknowledge-note:focus')
    await page.keyboard.type('已电话通知企业值班室')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'alarm-acknowledge')
    await page.keyboard.press('Enter')
    await page.waitForFunction((row) => document.querySelector(`#alarm-${CSS.escape(row)} .state`)?.textContent.includes('确认') && !document.querySelector(`#alarm-${CSS.escape(row)} .state`)?.textContent.includes('未确认'), id, { timeout: 10_000 })
    const log = await page.locator('.detail .log').innerText()
    if (!log.includes('已电话通知企业值班室')) throw new Error(`the note is not in the log: ${log}`)
  })
  await checks.run('alarm: the row stays where it was', async () => {
    const selected = await page.locator('[role=row][aria-selected=true]').getAttribute('id')
    if (selected !== `alarm-${id}`) throw new Error(`row moved: ${selected}`)
    if (shots) await page.screenshot({ path: `${shots}/alarm-acknowledged.png` })
  })
  await checks.run('alarm: closing needs a reason', async () => {
    await page.keyboard.press('c')
    await page.waitForSelector('#close-reason:focus')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#close-reason-problem')
    await page.keyboard.press('Escape')
    await page.waitForSelector('#close-reason', { state: 'hidden' })
    const state = await rowState(page, id)
    if (state.includes('已关闭')) throw new Error('closed without a reason')
  })
  await checks.run('alarm: ? shows the keys, typing in a field triggers none', async () => {
    await page.keyboard.press('/')
    await page.waitForSelector('#alarm-search:focus')
    await page.keyboard.type('a')
    if (await page.locator('#acknowledge-note').isVisible()) throw new Error('a typed letter acted')
    await page.fill('#alarm-search', '')
    await page.locator('[role=grid]').focus()
    await page.keyboard.press('?')
    await page.waitForSelector('.el-dialog kbd')
    await page.waitForTimeout(300)
    await checks.axe(page, shots, 'help')
    await page.keyboard.press('Escape')
  })
}
