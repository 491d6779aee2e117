import { describe, expect, it } from 'vitest'
import type { SubmissionReason } from '@/api/types'
import { OUTCOMES, OUTCOME_SIGNS, reasonLines } from './submission'

const t = (key: string, values?: Record<string, unknown>) => key.replace('submission.', '') + (values ? JSON.stringify(values) : '')
const reason = (of: Partial<SubmissionReason>): SubmissionReason => ({ code: 'refused', status: null, says: null, file: null, refusals: [], ...of })

describe('what became of a submission', () => {
  it('is_told_with_the_words_of_the_platform', () => {
    expect(reasonLines(null, t)).toEqual([])
    expect(reasonLines(reason({ status: 422, says: '重复' }), t)).toEqual(['why.refused status{"status":422}', '重复'])
    expect(reasonLines(reason({ code: 'written', file: 'a.csv' }), t)).toEqual(['why.written', 'a.csv'])
  })
  it('names_every_field_that_cannot_be_said', () => {
    const refusals = [
      { field: 'level', code: 'code', value: 'pink' },
      { field: 'name', code: 'new_in_a_later_release', value: '' },
    ]
    expect(reasonLines(reason({ code: 'unfit', refusals }), t)).toEqual(['why.unfit', 'refusal.code{"field":"level","value":"pink"}', 'name: new_in_a_later_release'])
    expect(reasonLines(reason({ code: 'later' }), t)).toEqual(['later'])
  })
  it('has_a_sign_of_its_own', () => {
    expect(new Set(OUTCOMES.map((outcome) => OUTCOME_SIGNS[outcome])).size).toBe(OUTCOMES.length)
  })
})
