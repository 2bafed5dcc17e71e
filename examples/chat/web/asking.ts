/** What the page asks for: forms that are answered by the server, and the address. */
import { CallError } from 'portico/browser';
import { elements } from './view.ts';

/** A form that asks the server, and shows what the server has against it. */
export function onSubmit(
  form: HTMLFormElement,
  input: HTMLInputElement,
  complaint: HTMLElement,
  ask: (value: string) => Promise<void>,
): void {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    complaint.textContent = '';
    ask(input.value).then(
      () => elements.text.focus(),
      (error: unknown) => {
        complaint.textContent = textOf(error);
        input.select();
      },
    );
  });
}

export function textOf(error: unknown): string {
  return error instanceof CallError ? error.message : 'not now: there is no connection';
}

/** What stands behind the # of the address; anybody may have written it. */
export function roomOfAddress(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
}
