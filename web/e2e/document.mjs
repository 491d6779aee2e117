// An official document: composed in the report builder by one, issued by another, its file and its code.
import { signIn } from './lib.mjs'

const holds = (text, what) => {
  if (!text.includes(what)) throw new Error(`no ${JSON.stringify(what)} in ${JSON.stringify(text.slice(0, 300))}`)
}

/** `people`: name and password of legal and leader. */
export async function documentFlow(checks, page, url, shots, people) {
  let at = ''
  await checks.run('document: a mid-term evaluation is composed, read and sent to be issued', async () => {
    await page.context().clearCookies()
    await signIn(page, url, 'legal', people.legal.password)
    await page.goto(`${url}/documents/new`)
    await page.fill('#document-as_of', '2013-12-31')
    await page.fill('#document-text', '一、说明\n演示内容。')
    await page.click('[data-preview]')
    await page.waitForSelector('article.sheet table')
    holds(await page.textContent('article.sheet'), '中期评估报告')
    await checks.axe(page, shots, 'document-compose')
    // A part left out makes another document: it is previewed again before it is sent.
    await page.locator('fieldset input[type=checkbox]').last().uncheck()
    if (await page.isEnabled('[data-send]')) throw new Error('what was not read can be sent')
    await page.click('[data-preview]')
    await page.waitForSelector('[data-send]:not([disabled])')
    await page.click('[data-send]')
    await page.waitForURL(/registers\/official_document\/\d+/)
    await page.waitForSelector('[data-document] article.sheet')
    if (await page.locator('[data-issue]').count()) throw new Error('who composed it is offered to issue it')
    at = page.url()
  })
  await checks.run('document: another issues it, and its file is the same twice', async () => {
    await page.context().clearCookies()
    await signIn(page, url, 'leader', people.leader.password)
    await page.goto(at)
    await page.click('[data-issue]')
    await page.waitForSelector('[data-issue]', { state: 'detached' })
    await page.waitForSelector('[data-pdf], [data-xlsx]')
    holds(await page.textContent('[data-document] article.sheet .number'), '〔')
    await checks.axe(page, shots, 'document-issued')
    const read = async (which) => {
      const href = await page.getAttribute(which, 'href')
      const answer = await page.context().request.get(`${url}${href}`)
      if (!answer.ok()) throw new Error(`${href}: ${answer.status()} ${await answer.text()}`)
      return answer.body()
    }
    if ((await read('[data-xlsx]')).subarray(0, 2).toString() !== 'PK') throw new Error('no workbook')
    if (!(await page.locator('[data-pdf]').count())) return
    const [first, second] = [await read('[data-pdf]'), await read('[data-pdf]')]
    if (first.subarray(0, 5).toString() !== '%PDF-' || !first.equals(second)) throw new Error('no PDF, or another one')
  })
}
