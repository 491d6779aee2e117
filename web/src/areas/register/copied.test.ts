import { describe, expect, it } from 'vitest'
import { copiedKind, stateName } from './copied'
import { KIND } from './fixture'
import { valueText } from './kind'
import type { Fields, RegisterRecord, Value } from './types'

const FILES = { name: '文件', bytes: '大小', hash: 'SHA-256' }
const words = { locale: 'zh-CN', people: { '7': '本节点的人' }, records: {}, unseen: '不可见', rows: (n: number) => `${n} 行`, files: (n: number) => `${n} 个` }
const read = (fields: Fields, id: string) => {
  const field = copiedKind(KIND, fields, FILES).fields.find((f) => f.id === id)!
  return valueText(field, fields[id], words)
}

describe('a copy of another node’s record', () => {
  it('says names, which are nobody’s ids here', () => {
    expect(read({ responsible: '7' }, 'responsible')).toBe('7')
    expect(read({ basis: '安全生产法 第41条' }, 'basis')).toBe('安全生产法 第41条')
  })
  it('shows files as rows with their names', () => {
    const photos = [{ name: '阀门.jpg', media_type: 'image/jpeg', bytes: 9, sha256: 'ab' }]
    const field = copiedKind(KIND, { photos }, FILES).fields.find((f) => f.id === 'photos')!
    expect(field.type).toBe('table')
    expect(field.columns.map((c) => [c.id, c.name])).toEqual([
      ['name', '文件'],
      ['bytes', '大小'],
      ['sha256', 'SHA-256'],
    ])
    expect(read({ photos }, 'photos')).toBe('1 行')
  })
  it('shows what another version of the register has, as it is', () => {
    const fields = { place: '罐区' as Value, items: '三项' as Value, due_on: { day: 1 } as unknown as Value, later: [{ a: 1 }] as Value, more: 'x' as Value }
    expect(read(fields, 'place')).toBe('罐区')
    expect(read(fields, 'items')).toBe('三项')
    expect(read(fields, 'due_on')).toBe('{"day":1}')
    expect(read(fields, 'later')).toBe('[{"a":1}]')
    expect(copiedKind(KIND, fields, FILES).fields.map((f) => f.id).slice(-2)).toEqual(['later', 'more'])
  })
  it('calls its state as here, else as its home does, else by its word', () => {
    const home = (state_name: string) => ({ id: 'x', name: '甲厂', told_at: '2026-11-30T00:00:00Z', state_name, state_name_en: '' })
    const of = (state: string, named: string | null) => stateName(KIND, { state, home: named === null ? null : home(named) } as RegisterRecord, 'zh-CN')
    expect(of('found', '别名')).toBe('found')
    expect(of('listed', '督办中')).toBe('督办中')
    expect(of('listed', '')).toBe('listed')
    expect(of('listed', null)).toBe('listed')
  })
})
