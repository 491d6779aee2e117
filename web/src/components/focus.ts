// Where the focus goes when a dialog opens: into its first field, not onto its frame.
import { nextTick } from 'vue'

export function focusField(id: string) {
  // After the kit's focus trap, which first takes the focus to the frame.
  void nextTick(() => document.getElementById(id)?.focus())
}
