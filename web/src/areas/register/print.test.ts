import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { pageRule, printed } from './print'
import type { Block } from './types'

const block = (type: Block['type'], fields: string[] = []): Block => ({ type, fields, words: [] })
const told = (blocks: Block[]) => blocks.map((b) => [b.type, ...b.fields].join(' '))

it('prints_filled_fields_and_the_history_of_a_register_that_says_nothing', () => {
  const fields = { what: '甲', due_on: null, items: [{ name: 'x' }], photos: [], total: 0 }
  expect(told(printed(KIND, fields, false))).toEqual(['fields what', 'table items', 'fields total', 'history'])
  expect(told(printed({ ...KIND, certificate: { in: ['found'], shows: ['what'], until: null } }, fields, true))).toContain('certificate')
})
it('leaves_out_a_part_of_which_nothing_is_filled_with_the_lines_to_sign_it', () => {
  const print = [block('heading'), block('fields', ['what', 'level']), block('signatures'), block('heading'), block('fields', ['funds']), block('table', ['items']), block('signatures'), block('heading'), block('text'), block('signatures'), block('certificate'), block('heading'), block('history')]
  const kind = { ...KIND, print }
  expect(told(printed(kind, { what: '甲' }, false))).toEqual(['heading', 'fields what', 'signatures', 'heading', 'text', 'signatures', 'heading', 'history'])
  expect(told(printed(kind, { funds: 0 }, true))).toEqual(['heading', 'fields funds', 'signatures', 'heading', 'text', 'signatures', 'certificate', 'heading', 'history'])
})
it('quotes_what_stands_at_the_foot_of_a_page', () => {
  expect(pageRule('a"b\\c\n} body {')).toContain('content: "a\\22 b\\5c c\\a } body {";')
})
