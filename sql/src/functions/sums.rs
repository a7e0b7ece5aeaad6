//! `sum` that fails where the sum has no place in its type. The engine's own wraps around, and a sum of money or usage would
//! come out negative without a word.
//!
//! Owns adding up, also of parts that other processes added up before. Does not own which numbers can be summed and to which
//! type: the engine's `sum` says so.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowNumericType, AsArray, BooleanArray, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_datafusion_err, not_impl_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion::physical_expr::NullState;
use datafusion::prelude::SessionContext;

/// Registers it in the place of the engine's. Of what the engine does beside, one thing is left out: `sum(a + 1)` as
/// `sum(a) + count(a)`, whose parts could wrap.
pub fn register(context: &SessionContext) {
    context.register_udaf(AggregateUDF::from(CheckedSum::default()));
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct CheckedSum {
    engines: Sum,
}

/// Makes something for the numbers of a type, or leaves others (floats, spans of time) to the engine.
macro_rules! for_numbers {
    ($arguments:ident, $make:ident, $engines:expr) => {{
        let data_type = $arguments.return_field.data_type().clone();
        match data_type {
            DataType::Int64 => $make!(Int64Type, data_type),
            DataType::UInt64 => $make!(UInt64Type, data_type),
            DataType::Decimal32(..) => $make!(Decimal32Type, data_type),
            DataType::Decimal64(..) => $make!(Decimal64Type, data_type),
            DataType::Decimal128(..) => $make!(Decimal128Type, data_type),
            DataType::Decimal256(..) => $make!(Decimal256Type, data_type),
            _ => $engines,
        }
    }};
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        macro_rules! make {
            ($numbers:ty, $data_type:expr) => {
                if arguments.is_distinct {
                    Ok(Box::new(DistinctSum::<$numbers> { values: HashSet::new(), data_type: $data_type }))
                } else {
                    Ok(Box::new(RunningSum::<$numbers>::new($data_type)))
                }
            };
        }
        for_numbers!(arguments, make, self.engines.accumulator(arguments))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.engines.state_fields(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        self.engines.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        macro_rules! make {
            ($numbers:ty, $data_type:expr) => {
                Ok(Box::new(GroupSums::<$numbers> {
                    sums: Vec::new(),
                    nulls: NullState::new(),
                    data_type: $data_type,
                }))
            };
        }
        for_numbers!(arguments, make, self.engines.create_groups_accumulator(arguments))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if arguments.is_distinct {
            return not_impl_err!("sum(DISTINCT …) over a window whose frame moves");
        }
        macro_rules! make {
            ($numbers:ty, $data_type:expr) => {
                Ok(Box::new(RunningSum::<$numbers>::new($data_type)))
            };
        }
        for_numbers!(arguments, make, self.engines.create_sliding_accumulator(arguments))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engines.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.engines.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.engines.set_monotonicity(data_type)
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.engines.value_from_stats(statistics)
    }
}

fn too_large(data_type: &DataType) -> DataFusionError {
    match data_type {
        DataType::Int64 | DataType::UInt64 => exec_datafusion_err!(
            "sum(): the sum is larger than an integer of 64 bits; sum decimals instead, like sum(value::decimal(38, 0))"
        ),
        _ => exec_datafusion_err!(
            "sum(): the sum has more digits than {data_type} holds; divide what is summed first, like sum(value / 1000000)"
        ),
    }
}

/// A sum as the type has it. Parts may have a few more digits than their type allows, and are told with them.
fn checked(sums: ArrayRef) -> Result<ArrayRef> {
    let fits = match sums.data_type() {
        DataType::Decimal32(precision, _) => {
            sums.as_primitive::<Decimal32Type>().validate_decimal_precision(*precision)
        }
        DataType::Decimal64(precision, _) => {
            sums.as_primitive::<Decimal64Type>().validate_decimal_precision(*precision)
        }
        DataType::Decimal128(precision, _) => {
            sums.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision)
        }
        DataType::Decimal256(precision, _) => {
            sums.as_primitive::<Decimal256Type>().validate_decimal_precision(*precision)
        }
        _ => Ok(()),
    };
    fits.map_err(|_| too_large(sums.data_type()))?;
    Ok(sums)
}

/// One sum, from which rows can be taken out again.
#[derive(Debug)]
struct RunningSum<T: ArrowNumericType> {
    sum: T::Native,
    count: u64,
    data_type: DataType,
}

impl<T: ArrowNumericType> RunningSum<T> {
    fn new(data_type: DataType) -> Self {
        Self { sum: T::Native::ZERO, count: 0, data_type }
    }

    fn value(&self) -> Result<ScalarValue> {
        ScalarValue::new_primitive::<T>((self.count > 0).then_some(self.sum), &self.data_type)
    }
}

impl<T: ArrowNumericType + Debug> Accumulator for RunningSum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            self.sum = self.sum.add_checked(value).map_err(|_| too_large(&self.data_type))?;
            self.count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            self.sum = self.sum.sub_checked(value).map_err(|_| too_large(&self.data_type))?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.value()?;
        checked(value.to_array()?)?;
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of values of which each counts once.
#[derive(Debug)]
struct DistinctSum<T: ArrowNumericType> {
    values: HashSet<T::Native>,
    data_type: DataType,
}

impl<T: ArrowNumericType + Debug> Accumulator for DistinctSum<T>
where
    T::Native: Hash + Eq,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(values[0].as_primitive::<T>().iter().flatten());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = PrimitiveArray::<T>::from_iter_values(self.values.iter().copied());
        let values = values.with_data_type(self.data_type.clone());
        Ok(vec![SingleRowListArrayBuilder::new(Arc::new(values)).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = PrimitiveArray::<T>::from_iter_values(self.values.iter().copied());
        let mut sum = RunningSum::<T>::new(self.data_type.clone());
        sum.update_batch(&[Arc::new(values.with_data_type(self.data_type.clone()))])?;
        sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * (size_of::<T::Native>() + 1)
    }
}

/// The sums of many groups at once.
#[derive(Debug)]
struct GroupSums<T: ArrowNumericType> {
    sums: Vec<T::Native>,
    nulls: NullState,
    data_type: DataType,
}

impl<T: ArrowNumericType> GroupSums<T> {
    fn take(&mut self, emit_to: EmitTo) -> ArrayRef {
        let sums = emit_to.take_needed(&mut self.sums);
        let nulls = self.nulls.build(emit_to);
        Arc::new(PrimitiveArray::<T>::new(sums.into(), nulls).with_data_type(self.data_type.clone()))
    }
}

impl<T: ArrowNumericType + Debug + Send> GroupsAccumulator for GroupSums<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.sums.resize(group_count, T::Native::ZERO);
        let sums = &mut self.sums[..];
        let mut fits = true;
        let values = values[0].as_primitive::<T>();
        self.nulls.accumulate(groups, values, filter, group_count, |group, value| {
            match sums[group].add_checked(value) {
                Ok(sum) => sums[group] = sum,
                Err(_) => fits = false,
            }
        });
        if fits { Ok(()) } else { Err(too_large(&self.data_type)) }
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], group_count: usize) -> Result<()> {
        self.update_batch(states, groups, None, group_count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        checked(self.take(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit_to)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>().clone().with_data_type(self.data_type.clone());
        let Some(filter) = filter else { return Ok(vec![Arc::new(values)]) };
        let counts = compute::prep_null_mask_filter(filter);
        let nulls = NullBuffer::union(values.nulls(), Some(&NullBuffer::new(counts.values().clone())));
        let (_, numbers, _) = values.into_parts();
        let kept = PrimitiveArray::<T>::new(numbers, nulls).with_data_type(self.data_type.clone());
        Ok(vec![Arc::new(kept)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.nulls.size()
    }
}
