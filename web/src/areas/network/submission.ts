// Submissions (报送) as a page shows them: in words and signs that need no colour.
import type { SubmissionReason } from '@/api/types'

export const OUTCOMES = ['accepted', 'sent', 'refused', 'failed', 'unfit'] as const
export const OUTCOME_SIGNS: Record<string, string> = { accepted: '✓', sent: '→', refused: '✕', failed: '…', unfit: '⚠' }
export const TARGET_SIGNS: Record<string, string> = { off: '○', idle: '✓', sending: '→', failing: '⚠', unknown: '○', misfit: '⚠' }
export const COUNTS = ['waiting', 'sent', 'aside', 'unwanted', 'gone'] as const

const REFUSALS = ['missing', 'too_long', 'type', 'code', 'unit']
const REASONS = ['unfit', 'refused', 'unclear', 'no_answer', 'not_written', 'no_secret', 'misfit', 'accepted', 'written']

type Say = (key: string, values?: Record<string, unknown>) => string

/** A reason in sentences: what happened, then the platform's words or every field that cannot be said. */
export function reasonLines(reason: SubmissionReason | null, t: Say): string[] {
  if (!reason) return []
  const status = reason.status === null ? '' : ` ${t('submission.status', { status: reason.status })}`
  const what = REASONS.includes(reason.code) ? t(`submission.why.${reason.code}`) : reason.code
  const fields = reason.refusals.map((r) => (REFUSALS.includes(r.code) ? t(`submission.refusal.${r.code}`, { field: r.field, value: r.value }) : `${r.field}: ${r.code}`))
  return [what + status, ...(reason.file ? [reason.file] : []), ...(reason.says ? [reason.says] : []), ...fields]
}
