//! A server of other people, pymodbus, is polled by the built binary: every kind of register, an exception, and its end.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Server;
use serde_json::{Value, json};

/// A Python in which `probe` runs; with `requirement` installed in the target directory if need be.
fn python(probe: &str, requirement: &str, venv: &str) -> Option<PathBuf> {
    let fits = |python: &Path| Command::new(python).args(["-c", probe]).output().is_ok_and(|o| o.status.success());
    let system = PathBuf::from("python3");
    if fits(&system) {
        return Some(system);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join(venv);
    let python = venv.join("bin/python");
    if !fits(&python) {
        let run = |program: &Path, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
        let made = run(&system, &["-m", "venv", venv.to_str()?]) && run(&python, &["-m", "pip", "install", "--quiet", requirement]);
        if !made || !fits(&python) {
            return None;
        }
    }
    Some(python)
}

/// Two units behind one address; prints the port. Its blocks count from 1: block address 1 is address 0 on the wire.
const PYMODBUS: &str = r"
import asyncio, struct
from pymodbus.datastore import ModbusSequentialDataBlock as Block, ModbusDeviceContext, ModbusServerContext
from pymodbus.server import ModbusTcpServer
def words(fmt, value):
    raw = struct.pack(fmt, value)
    return [int.from_bytes(raw[i:i + 2], 'big') for i in range(0, len(raw), 2)]
async def main():
    holding = words('>f', 12.5) + words('>f', 101.25)[::-1] + words('>i', -7) + [650, 0x8001]
    one = ModbusDeviceContext(co=Block(1, [True, False, True]), di=Block(1, [False, True]), hr=Block(1, holding), ir=Block(1, [40] + words('>d', 0.1)))
    two = ModbusDeviceContext(hr=Block(1, [222]))
    server = ModbusTcpServer(ModbusServerContext(devices={1: one, 2: two}, single=False), address=('127.0.0.1', 0))
    task = asyncio.create_task(server.serve_forever())
    while server.transport is None:
        await asyncio.sleep(0.01)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await task
asyncio.run(main())
";

struct Killed(std::process::Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pymodbus_server_is_polled_and_its_silence_is_told() {
    use std::io::BufRead as _;
    let probe = "from pymodbus.datastore import ModbusDeviceContext";
    // Pinned: version 4 is announced to drop the data store used here.
    let Some(python) = python(probe, "pymodbus==3.16.1", "pymodbus-venv") else {
        println!("skipped: 1");
        eprintln!("python3 with pymodbus can not be had");
        return;
    };
    let mut plant = Command::new(&python);
    let plant = plant.args(["-W", "ignore", "-c", PYMODBUS]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut plant = Killed(plant.spawn().expect("python"));
    let mut line = String::new();
    std::io::BufReader::new(plant.0.stdout.take().expect("stdout")).read_line(&mut line).expect("a port");
    let address = format!("127.0.0.1:{}", line.trim());

    let dir = tempfile::tempdir().unwrap();
    let networks = [("ANLAN_MODBUS__NETWORKS", "[\"127.0.0.1/32\"]"), ("ANLAN_MODBUS__BACKOFF_FIRST_MS", "50")];
    let server = Server::start(dir.path(), &networks);
    let device = |code: &str| {
        let body = json!({ "code": code, "name": code, "protocol": "modbus" });
        let (status, body) = server.post("/api/v1/devices", &body);
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (device("PLC-1"), device("PLC-2"));
    let register =
        |code: &str, table: &str, address: u16, kind: &str| json!({ "code": code, "table": table, "address": address, "type": kind });
    let with = |mut register: Value, more: Value| {
        register.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        register
    };
    let map = json!({ "address": address, "unit": 1, "interval_s": 0.2, "registers": [
        with(register("PI-1", "holding", 0, "f32"), json!({ "unit": "kPa" })),
        with(register("PI-2", "holding", 2, "f32"), json!({ "order": "CDAB" })),
        register("TI-1", "holding", 4, "i32"),
        with(register("TI-2", "holding", 6, "u16"), json!({ "scale": 0.1, "offset": -40.0 })),
        with(register("XV-1", "holding", 7, "bool"), json!({ "bit": 15 })),
        register("XV-2", "coil", 2, "bool"),
        register("XV-3", "discrete", 0, "bool"),
        register("LI-1", "input", 0, "u16"),
        register("LI-2", "input", 1, "f64"),
    ] });
    let (status, body) = server.put(&format!("/api/v1/devices/{one}/modbus"), &map);
    assert_eq!(status, 200, "{body}");
    // The second unit also names a register it has not: what it has is heard all the same.
    let map = json!({ "address": address, "unit": 2, "interval_s": 0.2, "registers": [
        register("FI-1", "holding", 0, "u16"), register("FI-9", "holding", 90, "u16"),
    ] });
    assert_eq!(server.put(&format!("/api/v1/devices/{two}/modbus"), &map).0, 200);
    let forbidden = json!({ "address": "192.0.2.1:502", "unit": 1, "interval_s": 1, "registers": [register("A", "coil", 0, "bool")] });
    let (status, body) = server.put(&format!("/api/v1/devices/{two}/modbus"), &forbidden);
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("modbus.network")), "{body}");

    let wanted = [
        ("PI-1", 12.5),
        ("PI-2", 101.25),
        ("TI-1", -7.0),
        ("TI-2", 25.0),
        ("XV-1", 1.0),
        ("XV-2", 1.0),
        ("XV-3", 0.0),
        ("LI-1", 40.0),
        ("LI-2", 0.1),
    ];
    for (code, value) in wanted {
        let readings = server.wait(code, |s| Some(s.readings(&one, code)).filter(|r| r.len() >= 2));
        assert!(readings.iter().all(|r| r["value"] == json!(value) && r["quality"] == "good"), "{code}: {readings:?}");
        assert!(readings[0]["flags"].as_array().unwrap().contains(&json!("time_server")), "{readings:?}");
    }
    server.wait("FI-1", |s| Some(s.readings(&two, "FI-1")).filter(|r| !r.is_empty()));
    let failures = |s: &Server| -> Vec<String> {
        let events = s.get("/api/v1/events");
        let all = events["events"].as_array().unwrap().iter().filter(|e| e["kind"] == "poll_failed");
        all.map(|e| format!("{} {}", e["subject"].as_str().unwrap(), e["detail"]["reason"].as_str().unwrap_or("?"))).collect()
    };
    server.wait("the exception of FI-9", |s| failures(s).contains(&"PLC-2 exception".to_owned()).then_some(()));
    assert_eq!(server.readings(&two, "FI-9").len(), 0, "an exception is no value");
    drop(plant);
    server.wait("silence", |s| failures(s).contains(&"PLC-1 unreachable".to_owned()).then_some(()));
    let n = server.readings(&one, "LI-1").len();
    println!("figure: outsider pymodbus: 9 registers of 9 kinds polled ({n} polls), its exception and its end told as events");
}
