// A small kind for tests, with one field of every type.
import type { Field, Register } from './types'

const named = (id: string, name: string) => ({ id, name, name_en: id })
const field = (id: string, name: string, type: Field['type'], more: Partial<Field> = {}): Field => ({ ...named(id, name), type, hint: '', hint_en: '', max: null, min: null, unit: '', choices: [], columns: [], rows_max: 0, of: '', accept: [], computed: false, exchange: null, source: '', source_confidence: '', ...more })
const step = (id: string, from: string, to: string, more: Partial<Register['transitions'][number]> = {}) => ({ ...named(id, id), from: [from], to, back: false, own_page: false, turns: [], who: ['safety_manager'], require: [], fresh: [], may: [], guards: [], ...more })

export const KIND: Register = {
  kind: 'sample',
  name: '样例',
  name_en: 'Sample',
  pack: 'base',
  standard: 'S',
  clause: '1',
  effective: '2026-01-01',
  confidence: 'unverified',
  owner: 'enterprise',
  exchange: null,
  retention: null,
  numbered: true,
  file_mb: 20,
  key: [],
  graph: '',
  title: 'what',
  search: ['what'],
  list: ['level', 'due_on'],
  filter: ['level', 'due_on', 'funds', 'responsible'],
  import: [],
  import_by: null,
  certificate: null,
  print: [],
  start: 'draft',
  fields: [
    field('what', '描述', 'text', { max: 10 }),
    field('level', '级别', 'choice', { choices: [named('general', '一般'), named('major', '重大')] }),
    field('due_on', '期限', 'date'),
    field('funds', '资金', 'number', { unit: '元', min: 0, max: 100 }),
    field('responsible', '责任人', 'person'),
    field('place', '位置', 'place'),
    field('items', '清单', 'table', { rows_max: 2, columns: [field('name', '名称', 'text', { max: 5 }), field('mass', '数量', 'number', { unit: 't', min: 0 })] }),
    field('total', '合计', 'number', { unit: 't', computed: true }),
    field('origin', '来源', 'text'),
    field('photos', '照片', 'file', { max: 2, accept: ['image'] }),
    field('basis', '依据', 'record', { of: 'clause' }),
  ],
  states: ['draft', 'found', 'treating', 'checked', 'closed'].map((id) => ({ ...named(id, id), end: id === 'closed', task: [], deadline: null, deadline_source: '', deadline_confidence: '' })),
  transitions: [
    step('report', 'draft', 'found', { require: ['what', 'level'], may: ['place', 'items'] }),
    step('inspect', 'draft', 'found', { who: ['inspector'], require: ['what'] }),
    step('assign', 'found', 'treating', { require: ['due_on', 'responsible'], may: ['funds', 'what'] }),
    step('submit', 'treating', 'checked'),
    step('send_back', 'checked', 'treating'),
    step('close', 'checked', 'closed'),
    step('amend', 'treating', 'treating', { may: ['funds'] }),
  ],
}
