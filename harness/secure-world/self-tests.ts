import type { RegisteredObject } from "./registered-shm.ts";
import { RegisteredObjects } from "./registered-shm.ts";
import { nextSessionId, type Session } from "./session.ts";

/** What the model's core checks about itself when the invoke-tests pseudo-TA asks for it. */
export function coreSelfTests(): boolean {
  return sessionIdsAreUnique() && newestObjectIsFound();
}

function sessionIdsAreUnique(): boolean {
  const open: Pick<Session, "id">[] = [];
  const next = (): number => {
    const id = nextSessionId(open as Session[]);
    open.push({ id });
    return id;
  };
  const first = [next(), next(), next()];
  open.splice(1, 1);
  const fourth = next();
  open.push({ id: 0xffff_ffff });
  const wrapped = next();
  return first.join() === "1,2,3" && fourth === 4 && wrapped === 2;
}

const object = (cookieHigh: number): RegisteredObject =>
  ({ cookieHigh, cookieLow: 7, heap: 8, older: undefined }) as RegisteredObject;

function newestObjectIsFound(): boolean {
  const table = new RegisteredObjects();
  const [old, other, fresh] = [object(1), object(2), object(1)];
  for (const one of [old, other, fresh]) table.add(one);
  const hidden = table.find(1, 7) === fresh && table.find(2, 7) === other;
  table.remove(fresh);
  return hidden && table.find(1, 7) === old && table.count === 2 && table.heap === 16;
}
