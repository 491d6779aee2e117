// A hidden danger from finding to cancellation, in a real Chromium, by four people in four roles, with listed supervision between,
// over sixty days of the test clock; then the audit chain is verified, and one changed byte in the database is found.
//   node web/e2e/loop.mjs [--binary ./target/debug/anlan] [--shots DIR] [--console DIR] [--keep]
// --console takes the pages from a folder (a newer build) instead of those in the binary; --keep leaves the data folder.
// Starts its own demo in a fresh folder and stops it. Needs a binary with the console, chromium (or $CHROMIUM), a CJK font and python3
// (its sqlite3 changes the copies). One line per claim, each resting on those before; last `loop: N claims, M failed`; exit 1 on a failure.
import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'
import { Checks, option, setTheme, settled } from './lib.mjs'

const START = '2026-11-23T01:00:00Z'
const DUE_DAYS = 45
const binary = option('binary') ?? './target/debug/anlan'
const shots = option('shots')
const pages = option('console')
const WORDS = '甲醇中间罐底阀内漏'
const NAMES = { worker: '演示·样板企业员工', manager: '演示·样板企业安全管理员', hongta: '演示·红塔区监管员', leader: '演示·市领导', inspector: '演示·红塔区执法检查员' }

/** The civil day in Beijing, `n` days after the loop begins. */
const day = (n) => new Date(Date.parse(START) + 8 * 3600_000 + n * 86_400_000).toISOString().slice(0, 10)
const same = (what, is, should) => {
  if (JSON.stringify(is) !== JSON.stringify(should)) throw new Error(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(should)}`)
}
const holds = (what, text, part) => {
  if (!text.includes(part)) throw new Error(`${what} does not say “${part}”: ${text}`)
}

// ---- the node

/** Starts the demo; answers when it says it is ready. */
async function demo(data) {
  const listen = Object.fromEntries(['HTTP', 'MQTT', 'JT808'].map((name) => [`ANLAN_${name}__LISTEN`, '127.0.0.1:0']))
  const child = spawn(binary, ['demo', '--data', data, '--test-clock', START, '--enterprises', '5', '--points', '15', '--vehicles', '1'], {
    env: { ...process.env, ...listen },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // Nothing is left running, however this ends.
  process.on('exit', () => child.kill('SIGKILL'))
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
  let last = ''
  child.stderr.on('data', (text) => (last = (last + text).slice(-2_000)))
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)))
  child.on('error', (error) => (last = String(error)))
  const ready = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{') && JSON.parse(line).event === 'ready') resolve(JSON.parse(line))
    })
  })
  const late = new Promise((resolve) => setTimeout(resolve, 120_000, 'after two minutes').unref())
  const first = await Promise.race([ready, ended, late])
  if (!first?.http) {
    child.kill()
    throw new Error(`the demo is not ready (${first}): ${last}`)
  }
  const stop = async () => {
    child.kill('SIGTERM')
    const code = await ended
    if (code !== 0) throw new Error(`the demo ended with ${code}: ${last}`)
  }
  return { ...first, stop }
}

let today = 0
/** Moves domain time to day `n`; everything due by then has run when this answers. */
async function until(url, n) {
  const answer = await fetch(`${url}/api/v1/test/clock`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ advance_s: (n - today) * 86_400 }),
  })
  if (!answer.ok) throw new Error(`the clock does not move: ${answer.status} ${await answer.text()}`)
  today = n
}

/** Runs a command; its exit code and what it printed. */
const run = (command, args) =>
  new Promise((resolve) => execFile(command, args, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, out: stdout, err: stderr })))
const verify = (data, ...more) => run(binary, ['audit', 'verify', '--data', data, ...more])

// ---- a person at their browser

class Person {
  static last = null
  constructor(key, page, url) {
    Object.assign(this, { key, page, url })
  }
  async visit(path, isInside = true) {
    // One page at a time: five that poll and draw at once starve each other on a small machine.
    if (Person.last && Person.last !== this) await Person.last.page.goto('about:blank')
    Person.last = this
    await this.page.bringToFront()
    await this.page.goto(this.url + path)
    if (isInside) await settled(this.page)
  }
  async shot(name) {
    if (shots) await this.page.screenshot({ path: join(shots, `loop-${name}.png`) })
  }
  /** Opens a record as it stands now. */
  async open(record) {
    await this.visit(record.path)
  }
  offered() {
    return this.page.locator('[data-transition]:enabled').evaluateAll((all) => all.map((b) => b.dataset.transition))
  }
  state() {
    return this.page.locator('.steps [aria-current=step] strong').innerText()
  }
  async fill(values) {
    const { page } = this
    for (const [field, value] of Object.entries(values)) {
      const control = page.locator(`#record-${field}`)
      await control.waitFor()
      if (Array.isArray(value)) {
        await page.click(`#record-${field}-add`)
        const [row] = value
        for (const [column, text] of Object.entries(row)) await page.fill(`#record-${field}-0-${column}`, String(text))
        continue
      }
      const kind = await control.evaluate((e) => e.getAttribute('role') ?? e.tagName)
      if (kind === 'radiogroup') await control.locator(`input[value="${value}"]`).check()
      else if (kind === 'SELECT') {
        // A choice by its id; a person by the name, once the names are there.
        const found = control.locator(`option[value="${value}"]`).or(control.locator('option', { hasText: value })).first()
        await found.waitFor({ state: 'attached' })
        await control.selectOption(await found.getAttribute('value'))
      } else await control.fill(String(value))
    }
  }
  /** Until the form has opened and put the focus where typing begins; it would take what is typed before that. */
  form() {
    return this.page.waitForFunction(() => document.activeElement?.closest('[aria-modal=true] form'), null, { polling: 100 })
  }
  /** Opens the form of a step and fills it. */
  async begin(record, step, values) {
    await this.open(record)
    await this.page.click(`[data-transition="${step}"]`)
    await this.form()
    await this.fill(values)
  }
  /** Takes a step; the record then stands in `state`. */
  async take(record, step, values, state, shot) {
    await this.begin(record, step, values)
    if (shot) await this.shot(shot)
    await this.page.click('#record-send')
    await this.gone()
    await this.page.waitForFunction((name) => document.querySelector('.steps [aria-current=step]')?.textContent.includes(name), state, { polling: 100 })
  }
  /** A step that is refused with these words, at the top of its form; the record stays as it was. */
  async refused(record, step, values, words, shot) {
    await this.begin(record, step, values)
    await this.page.click('#record-send')
    const summary = this.page.locator('[aria-modal=true]:visible .summary')
    await summary.waitFor()
    holds('the refusal', await summary.innerText(), words)
    if (shot) await this.shot(shot)
    await this.page.keyboard.press('Escape')
    await this.gone()
  }
  /** A step that cannot be taken whatever is filled in: its page says why beside it, and the server says the same to who sends it anyway. */
  async blocked(record, step, values, words, shot) {
    await this.open(record)
    const button = this.page.locator(`[data-transition="${step}"]`)
    if (!(await button.isDisabled())) throw new Error(`${step} can be pressed`)
    holds('the reason', await this.page.innerText(`#why-${step}`), words)
    if (shot) await this.shot(shot)
    const answer = await this.page.evaluate(
      async ([path, transition, fields]) => {
        const [, , kind, id] = path.split('/')
        const at = `/api/v1/registers/${kind}/records/${id}`
        const read = async (from) => (await fetch(from)).json()
        const [{ csrf }, { revision }] = [await read('/api/v1/session'), await read(at)]
        const headers = { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf, 'Accept-Language': 'zh-CN' }
        const sent = await fetch(`${at}/transitions/${transition}`, { method: 'POST', headers, body: JSON.stringify({ revision, fields }) })
        return { status: sent.status, text: await sent.text() }
      },
      [record.path, step, values],
    )
    same('the server', answer.status, 409)
    holds('the server', answer.text, words)
  }
  gone() {
    return this.page.waitForFunction(() => ![...document.querySelectorAll('[aria-modal=true]')].some((d) => d.getClientRects().length), null, { polling: 100 })
  }
  /** States of our records among this person's to-dos, the danger first. */
  async tasks(shot) {
    await this.visit('/tasks')
    if (shot) await this.shot(shot)
    const rows = await this.page.locator('tbody tr', { hasText: WORDS }).evaluateAll((all) =>
      all.map((row) => [row.querySelector('a').getAttribute('href').split('/')[2], [...row.querySelectorAll('td, th')][2].innerText.replace(/[▷■]/, '').trim()]),
    )
    return rows.sort().map(([, state]) => state)
  }
  /** Of our records, what the bell has that was not read before, oldest first; reads it all. */
  async news(shot) {
    await this.visit('/tasks')
    const { page } = this
    await page.click('.bell > button')
    await page.waitForSelector('#notices ul, #notices .foot')
    await settled(page)
    if (shot) await this.shot(shot)
    const found = await page.locator('#notices li.unread', { hasText: WORDS }).evaluateAll((all) =>
      all.map((li) => `${li.querySelector('a').getAttribute('href').split('/')[2] === 'hidden_danger' ? '隐患' : '挂牌'} ${li.querySelector('.what').innerText.replace('未读', '').trim().replace('、', '，')}`),
    )
    const read = page.locator('#notices header button')
    if (await read.count()) {
      await read.click()
      await page.waitForFunction(() => !document.querySelector('#notices li.unread'))
    }
    await page.keyboard.press('Escape')
    return found.reverse()
  }
}

// ---- the loop

async function loop(checks, url, people) {
  const { worker, manager, hongta, leader, inspector } = people
  /** A claim. Every one rests on those before, so the first that fails ends the loop. */
  const claim = async (name, body) => {
    const failed = checks.failed
    await checks.run(`day ${String(today).padStart(2)}  ${name}`, body)
    if (checks.failed === failed) return
    for (const person of Object.values(people)) await person.shot(`failed-${person.key}`).catch(() => {})
    throw new Error('the loop ends here; what follows rests on it')
  }
  /** `YH-…`, as the page says it, and where its page is. */
  const danger = { path: '', number: '' }
  const listing = { path: '', number: '' }
  const where = async (record, page) => {
    record.path = new URL(page.url()).pathname
    record.number = await page.innerText('.head .number')
  }
  const lists = async (should) => {
    for (const [key, states] of Object.entries(should)) same(`to-dos of ${key}`, await people[key].tasks(), states)
  }
  const bells = async (should) => {
    for (const [key, told] of Object.entries(should)) same(`notices of ${key}`, await people[key].news(), told)
  }

  await claim('worker: a danger found tomorrow is refused, found today it is kept, with a number', async () => {
    const { page } = worker
    await worker.visit('/registers/hidden_danger')
    await worker.shot('01-list')
    await page.locator('[data-new]:visible').first().click()
    await worker.form()
    // Whose grant names one enterprise is not asked which.
    await page.waitForFunction(() => document.getElementById('record-enterprise').value !== '')
    await worker.fill({ description: `${WORDS}，法兰下方有滴漏`, place: '中间罐区 V-203', found_on: day(1), source: 'condition', found_by: 'worker', basis: 'GB 30871 第 5 章' })
    await page.click('#record-send')
    await page.waitForSelector('[aria-modal=true] .summary')
    holds('the refusal', await page.innerText('[aria-modal=true] .summary'), '发现日期不能晚于今天')
    await worker.fill({ found_on: day(0) })
    await worker.shot('02-report-form')
    await page.click('#record-send')
    await page.waitForURL('**/registers/hidden_danger/*')
    await settled(page)
    await where(danger, page)
    if (!/^YH-530402-2026-\d{5}$/.test(danger.number)) throw new Error(`no number: ${danger.number}`)
    same('state', await worker.state(), '待定级')
  })
  await claim('worker: is offered no further step, and reads who goes on', async () => {
    same('offered', await worker.offered(), [])
    holds('the page', await worker.page.innerText('.actions'), '定级（')
    await worker.shot('03-reported')
  })
  await claim('it is on the to-do list of the safety manager, who is told, and of nobody else', async () => {
    await lists({ worker: [], manager: ['待定级'], hongta: [], leader: [] })
    await bells({ worker: [], manager: [`隐患 新的待办：待定级，期限 ${day(1)}`], hongta: [], leader: [] })
  })
  await claim('manager: may rate, is not offered to dismiss; rates it major', async () => {
    await manager.open(danger)
    same('offered', await manager.offered(), ['rate'])
    await manager.take(danger, 'rate', { level: 'major' }, '待交办', '04-rate-form')
    await lists({ manager: ['待交办'], hongta: [] })
  })
  await claim('supervisor: a major one without a plan is refused; with it, the worker has it and is told, the manager no longer', async () => {
    const plan = { responsible: NAMES.worker, due_on: day(DUE_DAYS), measures: '停用 V-203，更换底阀并做气密试验' }
    await hongta.refused(danger, 'assign', plan, '重大事故隐患须有治理方案：目标和任务、资金、安全措施和应急预案', '05-assign-refused')
    const more = { goal: '四十五天内消除内漏，恢复双阀隔离', funds_yuan: 260000, interim_measures: '罐区禁火，专人巡检，备好泡沫和堵漏器材' }
    await hongta.take(danger, 'assign', { ...plan, ...more }, '整改中', '06-assign-form')
    await lists({ worker: ['整改中'], manager: [], hongta: [] })
    await bells({ worker: [`隐患 新的待办：整改中，期限 ${day(DUE_DAYS)}`], hongta: [] })
  })
  await claim('supervisor: proposes the listing, which opens below it; a second one is refused', async () => {
    await hongta.take(danger, 'list', { listing_reason: '甲醇泄漏可能引发罐区火灾，影响厂外道路' }, '整改中', '07-list-form')
    await hongta.blocked(danger, 'list', { listing_reason: '再次提请' }, '已提请或正在挂牌督办')
    await hongta.open(danger)
    const below = hongta.page.locator('section', { hasText: '下级记录' }).locator('tbody tr', { hasText: WORDS })
    same('records below', await below.count(), 1)
    await hongta.shot('08-danger-with-listing')
    await below.locator('a').click()
    await hongta.page.waitForURL('**/registers/listed_supervision/*')
    await settled(hongta.page)
    await where(listing, hongta.page)
    if (!/^GP-530402-2026-\d{4}$/.test(listing.number)) throw new Error(`no number: ${listing.number}`)
    same('state', await hongta.state(), '待批准')
    same('offered to who proposed it', await hongta.offered(), [])
  })
  await claim('leader: has the proposal on the to-do list and is told; five working days, over the weekend', async () => {
    await lists({ leader: ['待批准'], manager: [], worker: ['整改中'] })
    await bells({ leader: [`挂牌 新的待办：待批准，期限 ${day(7)}`], manager: [], worker: [] })
  })

  await until(url, 2)
  await claim('leader: from the to-do list to its page, level and number of the notice, listed', async () => {
    await leader.tasks('09-leader-tasks')
    await leader.page.locator('tbody tr', { hasText: WORDS }).locator('a').click()
    await leader.page.waitForURL(`**${listing.path}`)
    await settled(leader.page)
    same('offered', await leader.offered(), ['approve', 'refuse'])
    const notice = { listing_level: 'county', listing_no: '红安督〔2026〕17号', supervising_body: '红塔区安全生产委员会' }
    await leader.take(listing, 'approve', notice, '挂牌督办中', '10-approve-form')
    for (const kept of ['四十五天内消除内漏，恢复双阀隔离', '260,000', day(DUE_DAYS)]) holds('the listing', await leader.page.innerText('main'), kept)
    await leader.shot('11-listed')
    await lists({ leader: [], manager: ['挂牌督办中'], hongta: ['挂牌督办中'] })
    await bells({ manager: [`挂牌 新的待办：挂牌督办中，期限 ${day(DUE_DAYS)}`], hongta: [`挂牌 新的待办：挂牌督办中，期限 ${day(DUE_DAYS)}`], worker: [] })
  })

  await until(url, 3)
  await claim('supervisor: announces it; manager, worker and leader are not offered to', async () => {
    for (const who of [manager, worker, leader]) {
      await who.open(listing)
      if ((await who.offered()).includes('announce')) throw new Error(`${who.key} is offered to announce`)
    }
    await hongta.take(listing, 'announce', { notice_on: day(3), notice_where: '红塔区人民政府网站' }, '挂牌督办中')
  })
  await claim('inspector: does not change the level while it is listed; nobody is offered acceptance before the check is asked for', async () => {
    await inspector.blocked(danger, 'rerate', { level: 'general', level_reason: '影响范围较小' }, '挂牌督办期间不能改定级别')
    for (const who of [inspector, hongta, manager]) {
      await who.open(danger)
      if ((await who.offered()).some((step) => ['accept', 'recheck'].includes(step))) throw new Error(`${who.key} is offered to close it`)
    }
  })

  await until(url, DUE_DAYS - 31)
  await claim('a day before the first reminder nobody is told anything', () => bells({ worker: [], manager: [], hongta: [], leader: [] }))
  await until(url, DUE_DAYS - 30)
  await claim('thirty days before the time limit the manager hears of the listing, nobody else', () =>
    bells({ worker: [], manager: [`挂牌 即将到期，期限 ${day(DUE_DAYS)}`], hongta: [], leader: [] }))
  await claim('manager: reports progress; sums and the day of the next report follow', async () => {
    const done = { on: day(today), done: '新底阀到货，脚手架搭设完成', spent_yuan: 120000, problems: '无' }
    await manager.take(listing, 'report_progress', { progress: [done], last_report_on: day(today), percent_done: 40 }, '挂牌督办中', '12-progress-form')
    const told = await manager.page.innerText('main')
    for (const part of ['120,000', '2027-01-08', '新底阀到货']) holds('the listing', told, part)
  })
  await until(url, DUE_DAYS - 8)
  await claim('what was told once is not told again', () => bells({ worker: [], manager: [], hongta: [], leader: [] }))
  await until(url, DUE_DAYS - 7)
  await claim('seven days before the time limit manager and supervisor hear of the listing', () =>
    bells({ worker: [], manager: [`挂牌 即将到期，期限 ${day(DUE_DAYS)}`], hongta: [`挂牌 即将到期，期限 ${day(DUE_DAYS)}`], leader: [] }))
  await until(url, DUE_DAYS - 3)
  await claim('three days before its own deadline manager and worker hear of the danger; it is due this week', async () => {
    same('notices of worker', await worker.news('13-notices-due-soon'), [`隐患 即将到期，期限 ${day(DUE_DAYS)}`])
    await bells({ manager: [`隐患 即将到期，期限 ${day(DUE_DAYS)}`], hongta: [], leader: [] })
    await worker.tasks('14-worker-tasks')
    holds('this week', await worker.page.locator('section.week').innerText(), WORDS)
  })
  await until(url, DUE_DAYS)
  await claim('on the last day it is not overdue, and nobody is told so', async () => {
    await worker.open(danger)
    const facts = await worker.page.innerText('.facts')
    holds('the day', facts, '今天到期')
    if (facts.includes('逾期')) throw new Error(`overdue on the last day: ${facts}`)
    await bells({ worker: [], manager: [], hongta: [], leader: [] })
  })
  await until(url, DUE_DAYS + 1)
  await claim('the day after: supervisor, manager and worker are told that it is overdue, and it stands on top of the to-do lists', async () => {
    same('notices of supervisor', (await hongta.news('15-notices-overdue')).sort(), [`挂牌 已逾期，期限 ${day(DUE_DAYS)}`, `隐患 已逾期，期限 ${day(DUE_DAYS)}`].sort())
    await bells({ worker: [`隐患 已逾期，期限 ${day(DUE_DAYS)}`], manager: [`隐患 已逾期，期限 ${day(DUE_DAYS)}`], leader: [] })
    await worker.tasks('16-worker-tasks-overdue')
    holds('the overdue', await worker.page.locator('section.overdue').innerText(), WORDS)
    holds('the overdue', await worker.page.locator('section.overdue').innerText(), '逾期 1 天')
  })
  await claim('worker: the day is over, so more time is refused in words; manager: nor for the listing', async () => {
    await worker.blocked(danger, 'ask_more_time', { postpone_to: day(DUE_DAYS + 20), postpone_reason: '阀门返厂检修' }, '整改期限已过，不能再申请延期', '17-more-time-refused')
    await manager.blocked(listing, 'ask_more_time', { postpone_to: day(DUE_DAYS + 20), postpone_reason: '阀门返厂检修' }, '治理期限已过，不能再申请延期')
    await hongta.refused(danger, 'give_more_time_major', { due_on: day(DUE_DAYS + 20) }, '须与申请的日期一致')
  })
  await until(url, DUE_DAYS + 5)
  await claim('five days late the leader (and the worker again) hears of the danger, ten days late of the listing', async () => {
    await bells({ leader: [`隐患 已逾期，期限 ${day(DUE_DAYS)}`], worker: [`隐患 已逾期，期限 ${day(DUE_DAYS)}`], hongta: [] })
    await until(url, DUE_DAYS + 10)
    await bells({ leader: [`挂牌 已逾期，期限 ${day(DUE_DAYS)}`], manager: [], hongta: [] })
  })

  await until(url, 57)
  await claim('manager: acceptance of the listing is refused before the worker has asked for the check', () =>
    manager.blocked(listing, 'apply', { evaluation: '内漏已消除' }, '隐患尚未报请复查'))
  await claim('manager: is not who is responsible, so cannot ask for the check', () =>
    manager.blocked(danger, 'submit', { removed_on: day(57), result: '已整改' }, '须由整改责任人报请复查'))
  await claim('worker: removed before it was found is refused; then asks for the check, and has nothing left to do', async () => {
    const done = { removed_on: day(-1), result: '底阀已更换，0.6 MPa 气密试验 30 分钟无压降', spent_yuan: 254300 }
    await worker.refused(danger, 'submit', done, '整改完成日期不能早于发现日期，也不能晚于今天')
    await worker.take(danger, 'submit', { ...done, removed_on: day(56) }, '待复查', '18-submit-form')
    same('offered', await worker.offered(), [])
    await lists({ worker: [], manager: ['待复查', '挂牌督办中'], hongta: ['待复查', '挂牌督办中'], leader: [] })
    await bells({ worker: [], manager: [`隐患 新的待办：待复查，期限 ${day(67)}`], hongta: [`隐患 新的待办：待复查，期限 ${day(67)}`] })
  })
  await claim('acceptance is refused while the listing is open, to supervisor and inspector; a major one is not the manager’s to close', async () => {
    await hongta.blocked(danger, 'accept', { opinion: '同意销号' }, '挂牌督办尚未摘牌，不能验收销号', '19-accept-refused')
    await inspector.blocked(danger, 'accept', { opinion: '同意销号' }, '挂牌督办尚未摘牌，不能验收销号')
    await manager.blocked(danger, 'recheck', { opinion: '同意销号' }, '重大事故隐患由监管部门验收')
    await manager.open(danger)
    if ((await manager.offered()).includes('accept')) throw new Error('the manager is offered acceptance')
  })

  await until(url, 58)
  await claim('manager: applies for acceptance of the listing; it is now the supervisor’s, who is told', async () => {
    await manager.take(listing, 'apply', { evaluation: '内漏已消除，双阀隔离恢复，复测合格' }, '待验收')
    same('offered to who applied', await manager.offered(), [])
    await lists({ manager: ['待复查'], hongta: ['待复查', '待验收'] })
    await bells({ hongta: [`挂牌 新的待办：待验收，期限 ${day(68)}`], manager: [] })
    await hongta.blocked(danger, 'accept', { opinion: '同意销号' }, '挂牌督办尚未摘牌，不能验收销号')
  })
  await until(url, 59)
  await claim('supervisor: accepts and delists; the listing is nobody’s to do any more', async () => {
    await hongta.take(listing, 'delist', { opinion: '现场复核合格，同意摘牌', result_notice_on: day(59) }, '已摘牌', '20-delist-form')
    await hongta.shot('21-delisted')
    await lists({ manager: ['待复查'], hongta: ['待复查'], leader: [] })
  })
  await until(url, 60)
  await claim('supervisor: accepts and closes; the danger is cancelled (销号), and no step is offered to anybody', async () => {
    await hongta.take(danger, 'accept', { opinion: '隐患消除，同意销号' }, '已销号', '22-accept-form')
    for (const who of Object.values(people)) {
      await who.open(danger)
      same(`state as ${who.key} sees it`, await who.state(), '已销号')
      same(`offered to ${who.key}`, await who.offered(), [])
      holds('the page', await who.page.innerText('.actions'), '已办结')
    }
  })
  await claim('nothing of it is left on any to-do list', () => lists({ worker: [], manager: [], hongta: [], leader: [], inspector: [] }))
  await claim('its history tells every step in order with who took it: four people, sixty days', async () => {
    await hongta.open(danger)
    await hongta.shot('23-closed')
    const told = await hongta.page.locator('.told > li').evaluateAll((all) =>
      all.map((li) => {
        const [who, what] = li.querySelectorAll('p')
        return { at: who.querySelector('time').innerText.trim(), who: who.innerText.replace(who.querySelector('time').innerText, '').trim(), what: what.querySelector('strong').innerText }
      }),
    )
    const acts = told.reverse().filter((e) => Object.values(NAMES).includes(e.who))
    const { worker: w, manager: m, hongta: h } = NAMES
    same('steps of the danger', acts.map((e) => [e.what, e.who, e.at.slice(0, 10)]), [
      ['上报', w, day(0)], ['定级', m, day(0)], ['交办', h, day(0)], ['提请挂牌督办', h, day(0)], ['报请复查', w, day(57)], ['验收销号', h, day(60)],
    ])
    same('reminders', told.filter((e) => !Object.values(NAMES).includes(e.who)).map((e) => [e.what, e.at.slice(0, 10)]), [['期限提醒', day(42)], ['期限提醒', day(46)], ['期限提醒', day(50)]])
    same('states passed', await hongta.page.locator('.steps li').evaluateAll((all) => all.map((li) => li.firstElementChild.innerText)), ['待定级', '待交办', '整改中', '待复查', '已销号'])
    await hongta.page.locator('.told > li').last().scrollIntoViewIfNeeded()
    await hongta.shot('24-time-line')
    await leader.open(listing)
    same('who listed', await leader.page.locator('.told > li', { hasText: NAMES.leader }).count(), 1)
  })
  await claim('the list finds it by its number and says 已销号; the open ones do not hold it', async () => {
    await hongta.visit(`/registers/hidden_danger?q=${danger.number}`)
    same('found', await hongta.page.locator('tbody tr').count(), 1)
    holds('the row', await hongta.page.innerText('tbody tr'), '已销号')
    await hongta.shot('25-list')
    await hongta.visit('/registers/hidden_danger?open=true')
    same('among the open ones', await hongta.page.locator('tbody tr', { hasText: WORDS }).count(), 0)
  })
  await claim('on a phone the closed record is no wider than the window', async () => {
    await worker.page.setViewportSize({ width: 390, height: 844 })
    await worker.open(danger)
    await worker.shot('26-phone')
    const over = await worker.page.evaluate(() => Math.max(document.documentElement.scrollWidth - innerWidth, document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth))
    if (over > 1) throw new Error(`${over} px wider than the window`)
    await worker.visit('/tasks')
    await worker.shot('27-phone-tasks')
  })
  return danger
}

// ---- the audit

/** Runs SQL of python on a copy's database; `db` is the connection, `path` its file. */
const change = async (data, lines) => {
  const script = ['import sqlite3, sys', 'path = sys.argv[1] + "/anlan.sqlite"', 'db = sqlite3.connect(path)', 'db.execute("PRAGMA wal_checkpoint(TRUNCATE)")', ...lines, 'db.commit()'].join('\n')
  const { code, out, err } = await run('python3', ['-c', script, data])
  if (code !== 0) throw new Error(`python3: ${err}`)
  return out.trim()
}
/** One bit of one byte in the file itself, where the record's row is read from. */
const FLIP = `def body():
    fresh = sqlite3.connect(path)
    row = fresh.execute('SELECT body FROM record WHERE id = ?', [ID]).fetchone()[0]
    fresh.close()
    return row
was = body()
db.close()
raw, mark, at = open(path, 'rb').read(), '254300'.encode(), -1
while True:
    at = raw.find(mark, at + 1)
    if at < 0: raise SystemExit('the value is nowhere in a row')
    with open(path, 'r+b') as f:
        f.seek(at); f.write(bytes([raw[at] ^ 1]))
    if body() != was: break
    with open(path, 'r+b') as f:
        f.seek(at); f.write(raw[at:at + 1])
db = sqlite3.connect(path)
print(at)`

async function audit(checks, data, id) {
  const copies = []
  const copy = async () => {
    const to = `${data}-changed-${copies.length}`
    copies.push(to)
    await cp(data, to, { recursive: true })
    return to
  }
  let head = ''
  await checks.run('audit: the chain holds, every record is as its newest entry says, and a head is printed', async () => {
    const { code, out } = await verify(data)
    if (code !== 0) throw new Error(`exit ${code}: ${out}`)
    holds('verify', out, 'the chain holds')
    head = /^head: ([0-9a-f]{64})$/m.exec(out)?.[1] ?? ''
    console.log(out.trim().replace(/^/gm, '      '))
    const again = await verify(data, '--head', head)
    same('exit with the head that was noted', again.code, 0)
  })
  const found = (name, lines, says, also) =>
    checks.run(`audit: ${name}`, async () => {
      const to = await copy()
      await change(to, lines)
      const { code, out } = await verify(to)
      same('exit', code, 1)
      holds('verify', out, says)
      if (also) also(out)
      console.log(`      ${out.trim().split('\n').find((line) => line.includes(says))}`)
    })
  const named = `are not what their newest audit entry says: ${id}`
  const chainHolds = (out) => holds('verify', out, 'the chain holds')
  await found('one character more in the title of the record: exit 1, the record is named', [`db.execute("UPDATE record SET title = title || '改' WHERE id = ${id}")`], named, chainHolds)
  await found('another day in the body of the record: exit 1, the record is named', [`assert db.execute("UPDATE record SET body = replace(body, '${day(56)}', '${day(44)}') WHERE id = ${id} AND body LIKE '%${day(56)}%'").rowcount == 1`], named, chainHolds)
  await found('one bit of the file where the money spent is kept: exit 1, the record is named', FLIP.replace('ID', id).split('\n'), named, chainHolds)
  const entry = (await change(await copy(), [`print(db.execute("SELECT id FROM audit WHERE noun = 'record' AND subject = '${id}' AND detail LIKE '%submit%'").fetchone()[0])`])).trim()
  await found(`entry ${entry} says another day: exit 1, the entry is named`, [`assert db.execute("UPDATE audit SET detail = replace(detail, '${day(56)}', '${day(44)}') WHERE id = ${entry} AND detail LIKE '%${day(56)}%'").rowcount == 1`], `broken at entry ${entry}:`)
  await found(`entry ${entry} says somebody else: exit 1, the entry is named`, [`db.execute("UPDATE audit SET name = '他人' WHERE id = ${entry}")`], `broken at entry ${entry}:`)
  await found('the newest entry is gone: exit 1, it is said', ['db.execute("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")'], 'entries were cut off')
  await checks.run('audit: the node’s own data, which nobody changed, still verifies to the same head', async () => {
    const { code, out } = await verify(data, '--head', head)
    same('exit', code, 0)
    holds('verify', out, head)
  })
  if (!process.argv.includes('--keep')) for (const to of copies) await rm(to, { recursive: true, force: true })
}

// ---- all of it

if (shots) await mkdir(shots, { recursive: true })
const checks = new Checks()
const data = await mkdtemp(join(tmpdir(), 'anlan-loop-'))
const node = await demo(data)
let browser
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  })
  const people = {}
  const faults = []
  for (const key of Object.keys(NAMES)) {
    const context = await browser.newContext({ viewport: { width: 1366, height: 768 }, locale: 'zh-CN', timezoneId: 'Asia/Shanghai' })
    if (pages) await context.route((at) => !at.pathname.startsWith('/api/'), (route) => {
      const { pathname } = new URL(route.request().url())
      return route.fulfill({ path: join(pages, /\.\w+$/.test(pathname) ? pathname : 'index.html') })
    })
    const page = await context.newPage()
    page.setDefaultTimeout(60_000)
    page.on('pageerror', (error) => faults.push(`${key}: ${error.message}`))
    page.on('console', (message) => {
      if (message.type() === 'error' && !/^Failed to load resource|^WebSocket connection to/.test(message.text())) faults.push(`${key}: ${message.text()}`)
    })
    people[key] = new Person(key, page, node.http)
  }
  await checks.run('day  0  five people sign in, each in a browser of their own', async () => {
    for (const [key, person] of Object.entries(people)) {
      // To the to-do list: the screen with its map has no part in this.
      await person.visit('/sign-in?next=/tasks', false)
      await person.page.fill('#signin-username', key)
      await person.page.fill('#signin-password', node.users.find((u) => u.name === key).password)
      await person.page.click('button[type=submit]')
      await person.page.waitForURL((at) => at.pathname === '/tasks')
      await setTheme(person.page, false)
      await person.news()
    }
  })
  const danger = await loop(checks, node.http, people)
  await checks.run('no script error on any page', () => {
    if (faults.length) throw new Error([...new Set(faults)].slice(0, 10).join('\n'))
  })
  await browser.close()
  await checks.run('the demo stops when it is told to', () => node.stop())
  await audit(checks, data, danger.path.split('/').pop())
} catch (error) {
  // A claim that failed is counted; anything else is a failure of its own.
  if (!checks.failed) checks.failed++
  console.log(error.message)
} finally {
  await browser?.close()
  if (!process.argv.includes('--keep')) await rm(data, { recursive: true, force: true })
}
console.log(`loop: ${checks.passed + checks.failed} claims, ${checks.failed} failed`)
// The demo of a loop that broke off still runs; the exit takes it along.
process.exit(checks.failed ? 1 : 0)
